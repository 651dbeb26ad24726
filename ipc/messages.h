// The messages of the protocol as values. Each has an Encode and a Decode, the order of whose records is the
// order of the fields here. Decoded values are views into the buffer they were decoded from.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ipc/codec.h"
#include "ipc/dtype.h"
#include "ipc/error.h"
#include "ipc/wire.h"

namespace tpb::ipc {

struct Tensor {
  std::string_view name;
  DataType dtype = DataType::kInvalid;
  std::span<const std::int64_t> shape;
  MemoryType memory_type = MemoryType::kCpu;
  std::int64_t device_id = 0;
  Place place = Place::kServerArena;
  std::uint64_t lease = 0;   // kServerArena: the block; `offset` counts from its start
  std::uint64_t offset = 0;  // kStubArena: from the start of the arena
  std::uint64_t size = 0;    // bytes of payload
};

struct Parameter {
  std::string_view name;
  ParameterType type = ParameterType::kString;
  std::uint64_t bits = 0;  // int64, bool or double, by `type`
  std::string_view text;   // kString
};

struct Request {
  std::string_view id;
  std::string_view correlation_text;  // when correlation_is_text
  std::uint64_t correlation_id = 0;
  bool correlation_is_text = false;
  std::uint64_t timeout_us = 0;
  std::uint64_t priority = 0;     // of a call
  std::uint64_t response_id = 0;  // of an Execute: what responses to this request are sent under
  std::uint32_t flags = 0;
  std::string_view trace_context;  // of an Execute: OpenTelemetry's, as JSON; empty for none
  std::vector<std::string_view> requested_outputs;
  std::vector<Parameter> parameters;
  std::vector<Tensor> inputs;
};

// kExecute: one batch.
struct Execute {
  std::vector<LeaseRecord> leases;  // the blocks that the inputs lie in
  std::vector<Request> requests;
};

// kAutoComplete and kInitialize: what the stub has to know to load a model.
struct Load {
  std::string_view model_name;
  std::string_view model_version;
  std::string_view model_repository;  // <repository>/<model>
  std::string_view model_file;   // absolute path of model.py, outside `model_repository` if shared by models
  std::string_view backend_dir;  // folder of the package triton_python_backend_utils
  std::string_view config_json;
  std::string_view instance_name;  // empty for kAutoComplete, as the next two
  std::string_view instance_kind;
  std::string_view instance_device_id;
};

struct Response {
  ResponseKind kind = ResponseKind::kNone;
  Code code = Code::kInternal;  // kError
  std::string_view text;        // kError
  std::vector<Tensor> outputs;
  std::vector<Parameter> parameters;
};

// kReply, to any work message. A failed one has a code and a text; otherwise `text` is the answer to
// kAutoComplete (the configuration) or to kInitialize (empty), and `responses` answer kExecute, one for each
// request.
struct Reply {
  bool failed = false;
  Code code = Code::kInternal;
  std::string_view text;
  std::uint32_t max_batch_size = 0;      // to kInitialize: of the model's configuration
  std::uint32_t flags = 0;               // to kInitialize: ReplyFlag
  std::uint32_t execute_timeout_ms = 0;  // to kInitialize: how long one execute may take; 0: for ever
  std::vector<std::uint64_t> kept;       // leases of this exchange that the stub goes on holding
  std::vector<Response> responses;
  std::vector<std::string_view> state_outputs;  // to kInitialize: which outputs are a sequence's state
};

// kCall: a model asks for an inference of another model. The ids in `request.inputs` name blocks that the
// stub holds, or lie in its own arena; they stay as they are until the call is answered.
struct Call {
  std::string_view model_name;
  std::int64_t model_version = -1;
  std::uint64_t parent = 0;  // response_id of the request whose trace this belongs to
  std::uint32_t slot = 0;
  std::uint32_t flags = 0;  // CallFlag
  Request request;
};

// What the body of an answered CallSlot says. Its blocks are the stub's until it releases them.
struct CallAnswer {
  std::vector<LeaseRecord> leases;
  std::vector<Response> responses;
  bool last = true;  // of its call
};

// kLog: one line for the server's log.
struct LogLine {
  LogLevel level = LogLevel::kInfo;
  std::uint32_t line = 0;
  std::string_view file;
  std::string_view text;
};

// kAsk: a question that is answered in a call slot; AskKind says which fields it uses.
struct Ask {
  AskKind kind = AskKind::kNewFamily;
  std::uint32_t slot = 0;
  std::uint64_t handle = 0;
  std::uint32_t option = 0;
  std::string_view name;
  std::string_view text;
  std::vector<std::pair<std::string_view, std::string_view>> pairs;
  std::vector<double> numbers;
};

// What the body of the call slot of an answered kAsk says.
struct AskAnswer {
  bool failed = false;
  Code code = Code::kInternal;  // when it failed, as the next
  std::string_view text;
  std::uint64_t bits = 0;
};

void Encode(const Execute& message, Writer& writer);
void Encode(const Load& message, Writer& writer);
void Encode(const Reply& message, Writer& writer);
void Encode(const Response& message, Writer& writer);  // kRespond
void Encode(const Call& message, Writer& writer);
void Encode(const CallAnswer& message, Writer& writer);
// The same from responses that were encoded before.
void EncodeCallAnswer(const std::vector<LeaseRecord>& leases,
                      std::span<const std::vector<std::byte>> responses, bool last, Writer& writer);
void Encode(const LogLine& message, Writer& writer);
void Encode(const Ask& message, Writer& writer);
void Encode(const AskAnswer& message, Writer& writer);

// Throw ProtocolError for anything that is not exactly one message of that kind.
Execute DecodeExecute(std::span<const std::byte> bytes);
Load DecodeLoad(std::span<const std::byte> bytes);
Reply DecodeReply(std::span<const std::byte> bytes);
Response DecodeResponse(std::span<const std::byte> bytes);
Call DecodeCall(std::span<const std::byte> bytes);
CallAnswer DecodeCallAnswer(std::span<const std::byte> bytes);
LogLine DecodeLogLine(std::span<const std::byte> bytes);
Ask DecodeAsk(std::span<const std::byte> bytes);
AskAnswer DecodeAskAnswer(std::span<const std::byte> bytes);

}  // namespace tpb::ipc
