// A model that calls others, as the server meets it: both ends of a conversation, in this process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/bls/gateway.h"
#include "backend/conversation.h"
#include "ipc/call_slots.h"
#include "ipc/channel.h"
#include "ipc/messages.h"

// An answer, taken out of its slot.
struct Got {
  bool no_room = false;
  tpb::ipc::ResponseKind kind = tpb::ipc::ResponseKind::kNone;
  tpb::ipc::Code code = tpb::ipc::Code::kUnknown;
  std::string error;
  std::vector<std::string> outputs;
  std::vector<std::string> parameters;  // their names
  std::vector<std::uint64_t> leases;    // of the body and of the outputs
};

class Caller {
 public:
  // Starts from a stand-in core that knows nothing of earlier tests.
  explicit Caller(bool with_gateway = true);

  // A UINT8 tensor of these bytes in the stub's arena, where they stay.
  tpb::ipc::Tensor Input(std::string_view name, std::string_view payload);
  // `tensor` with another shape; the caller keeps it.
  tpb::ipc::Tensor Shaped(tpb::ipc::Tensor tensor, std::vector<std::int64_t> shape);

  // As the stub sends a call, without waiting for the answer.
  void Send(std::uint64_t id, const tpb::ipc::Call& call);
  void SendBody(std::uint64_t id, std::span<const std::byte> body);

  // The turn of the service thread.
  void Handle();

  // Waits for the answer to call `id`.
  Got Answer(std::uint32_t slot, std::uint64_t id);

  // As a stub lets go of all that an answer named.
  void Release(const Got& got);

  // Nothing of any call is left: no lease, no byte of the server's arena, no object of core, no call in the
  // gateway.
  void CheckNothingLeft();

  // The first byte of `tensor`, as the stub sees it.
  char& Byte(const tpb::ipc::Tensor& tensor);

  std::shared_ptr<tpb::backend::bls::Gateway> gateway;
  std::shared_ptr<tpb::backend::Conversation> conversation;
  std::unique_ptr<tpb::ipc::StubChannel> stub;
  std::unique_ptr<tpb::ipc::CallSlots> slots;

 private:
  std::vector<tpb::ipc::Block> payloads_;
  std::deque<std::vector<std::int64_t>> shapes_;
};

// A call of `model` in `slot` without inputs.
tpb::ipc::Call CallOf(std::string_view model, std::uint32_t slot = 0);
