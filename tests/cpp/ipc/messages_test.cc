#include "ipc/messages.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iterator>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ipc/codec.h"
#include "ipc/dtype.h"
#include "ipc/error.h"
#include "tests/cpp/check.h"

namespace tpb {
namespace {

using ipc::ProtocolError;
using ipc::Reader;
using ipc::Writer;

using Bytes = std::vector<std::byte>;

constexpr std::int64_t kShape[] = {2, 0, -1, std::numeric_limits<std::int64_t>::max()};

ipc::Tensor SomeTensor(std::string_view name) {
  return {.name = name,
          .dtype = ipc::DataType::kFp32,
          .shape = kShape,
          .memory_type = ipc::MemoryType::kCpuPinned,
          .device_id = -3,
          .place = ipc::Place::kStubArena,
          .lease = 11,
          .offset = 12,
          .size = 13};
}

ipc::Execute SomeExecute() {
  ipc::Execute message;
  message.leases = {{.lease = 1, .offset = 2, .size = 3}, {.lease = 4, .offset = 5, .size = 6}};
  ipc::Request request;
  request.id = "a request";
  request.correlation_text = "sequence 7";
  request.correlation_id = 7;
  request.correlation_is_text = true;
  request.timeout_us = 8;
  request.flags = 3;
  request.requested_outputs = {"OUT", "", "a longer name of an output"};
  request.parameters = {
      {.name = "p", .type = ipc::ParameterType::kInt, .bits = ~std::uint64_t{0}, .text = {}},
      {.name = "q", .type = ipc::ParameterType::kString, .bits = 0, .text = "text"}};
  request.inputs = {SomeTensor("IN"), SomeTensor("")};
  message.requests = {request, ipc::Request{}};
  return message;
}

ipc::Load SomeLoad() {
  return {.model_name = "add_sub",
          .model_version = "1",
          .model_repository = "/models/add_sub",
          .model_file = "/models/add_sub/1/model.py",
          .backend_dir = "/backends/python",
          .config_json = "{\"name\": \"add_sub\"}",
          .instance_name = "add_sub_0_0",
          .instance_kind = "CPU",
          .instance_device_id = "0"};
}

ipc::Reply SomeReply() {
  ipc::Reply message;
  message.failed = true;
  message.code = ipc::Code::kUnavailable;
  message.text = "a reason";
  message.kept = {5, 6, 7};
  message.max_batch_size = 8;
  message.flags = ipc::kReplyDecoupled | ipc::kReplyMayReplay;
  message.execute_timeout_ms = 1500;
  ipc::Response good;
  good.kind = ipc::ResponseKind::kTensors;
  good.outputs = {SomeTensor("OUT")};
  good.parameters = {{.name = "d", .type = ipc::ParameterType::kDouble, .bits = 1, .text = {}}};
  ipc::Response bad;
  bad.kind = ipc::ResponseKind::kError;
  bad.code = ipc::Code::kInvalidArg;
  bad.text = "this one failed";
  message.responses = {good, bad, ipc::Response{}};
  message.state_outputs = {"a state", "another"};
  return message;
}

ipc::Call SomeCall() {
  return {.model_name = "another model",
          .model_version = -7,
          .parent = 77,
          .slot = 1023,
          .flags = ipc::kCallDecoupled,
          .request = SomeExecute().requests.front()};
}

ipc::CallAnswer SomeCallAnswer() {
  return {.leases = SomeExecute().leases, .responses = SomeReply().responses, .last = false};
}

ipc::LogLine SomeLogLine() {
  return {.level = ipc::LogLevel::kWarning, .line = 42, .file = "model.py", .text = "a word\nor two"};
}

template <typename Message>
Bytes Encoded(const Message& message) {
  Writer writer;
  ipc::Encode(message, writer);
  return {writer.bytes().begin(), writer.bytes().end()};
}

// Decodes and reads every byte that the message names: under AddressSanitizer a view beyond the buffer is a
// failure. Gives what the message encodes to again.
using Recode = std::function<Bytes(std::span<const std::byte>)>;
Bytes RecodeExecute(std::span<const std::byte> bytes) { return Encoded(ipc::DecodeExecute(bytes)); }
Bytes RecodeLoad(std::span<const std::byte> bytes) { return Encoded(ipc::DecodeLoad(bytes)); }
Bytes RecodeReply(std::span<const std::byte> bytes) { return Encoded(ipc::DecodeReply(bytes)); }
Bytes RecodeCall(std::span<const std::byte> bytes) { return Encoded(ipc::DecodeCall(bytes)); }
Bytes RecodeCallAnswer(std::span<const std::byte> bytes) { return Encoded(ipc::DecodeCallAnswer(bytes)); }
Bytes RecodeLogLine(std::span<const std::byte> bytes) { return Encoded(ipc::DecodeLogLine(bytes)); }

struct Sample {
  const char* kind;
  Bytes bytes;
  Recode recode;
};

std::vector<Sample> Samples() {
  return {{"Execute", Encoded(SomeExecute()), RecodeExecute},
          {"Load", Encoded(SomeLoad()), RecodeLoad},
          {"Reply", Encoded(SomeReply()), RecodeReply},
          {"Call", Encoded(SomeCall()), RecodeCall},
          {"CallAnswer", Encoded(SomeCallAnswer()), RecodeCallAnswer},
          {"LogLine", Encoded(SomeLogLine()), RecodeLogLine}};
}

void CheckTensor(const ipc::Tensor& tensor, std::string_view name) {
  CHECK_EQ(tensor.name, name);
  CHECK_EQ(tensor.dtype, ipc::DataType::kFp32);
  CHECK(std::equal(tensor.shape.begin(), tensor.shape.end(), std::begin(kShape), std::end(kShape)));
  CHECK_EQ(tensor.memory_type, ipc::MemoryType::kCpuPinned);
  CHECK_EQ(tensor.device_id, -3);
  CHECK_EQ(tensor.place, ipc::Place::kStubArena);
  CHECK_EQ(tensor.lease, 11U);
  CHECK_EQ(tensor.offset, 12U);
  CHECK_EQ(tensor.size, 13U);
}

// One body of each record that counts something, whose count is a lie.
template <typename Record>
Bytes Lie(Record record, std::size_t zeros_behind) {
  Bytes bytes(sizeof(record) + zeros_behind);
  std::memcpy(bytes.data(), &record, sizeof(record));
  return bytes;
}

TEST(Messages, ExecuteComesBack) {
  const Bytes bytes = Encoded(SomeExecute());

  const auto message = ipc::DecodeExecute(bytes);

  CHECK_EQ(message.leases.size(), 2U);
  CHECK_EQ(message.leases[1].lease, 4U);
  CHECK_EQ(message.leases[1].offset, 5U);
  CHECK_EQ(message.leases[1].size, 6U);
  CHECK_EQ(message.requests.size(), 2U);
  const auto& request = message.requests[0];
  CHECK_EQ(request.id, "a request");
  CHECK_EQ(request.correlation_text, "sequence 7");
  CHECK_EQ(request.correlation_id, 7U);
  CHECK(request.correlation_is_text);
  CHECK_EQ(request.timeout_us, 8U);
  CHECK_EQ(request.flags, 3U);
  CHECK(request.requested_outputs ==
        (std::vector<std::string_view>{"OUT", "", "a longer name of an output"}));
  CHECK_EQ(request.parameters.size(), 2U);
  CHECK_EQ(request.parameters[0].name, "p");
  CHECK_EQ(request.parameters[0].type, ipc::ParameterType::kInt);
  CHECK_EQ(request.parameters[0].bits, ~std::uint64_t{0});
  CHECK_EQ(request.parameters[1].text, "text");
  CHECK_EQ(request.inputs.size(), 2U);
  CheckTensor(request.inputs[0], "IN");
  CheckTensor(request.inputs[1], "");
  CHECK(message.requests[1].inputs.empty() && message.requests[1].id.empty());
}

TEST(Messages, LoadComesBack) {
  const Bytes bytes = Encoded(SomeLoad());

  const auto message = ipc::DecodeLoad(bytes);

  CHECK_EQ(message.model_name, "add_sub");
  CHECK_EQ(message.model_version, "1");
  CHECK_EQ(message.model_repository, "/models/add_sub");
  CHECK_EQ(message.model_file, "/models/add_sub/1/model.py");
  CHECK_EQ(message.backend_dir, "/backends/python");
  CHECK_EQ(message.config_json, "{\"name\": \"add_sub\"}");
  CHECK_EQ(message.instance_name, "add_sub_0_0");
  CHECK_EQ(message.instance_kind, "CPU");
  CHECK_EQ(message.instance_device_id, "0");
}

TEST(Messages, ReplyComesBack) {
  const Bytes bytes = Encoded(SomeReply());

  const auto message = ipc::DecodeReply(bytes);

  CHECK(message.failed);
  CHECK_EQ(message.code, ipc::Code::kUnavailable);
  CHECK_EQ(message.text, "a reason");
  CHECK(message.kept == (std::vector<std::uint64_t>{5, 6, 7}));
  CHECK_EQ(message.max_batch_size, 8U);
  CHECK_EQ(message.flags, 5U);
  CHECK_EQ(message.execute_timeout_ms, 1500U);
  CHECK_EQ(message.responses.size(), 3U);
  CHECK_EQ(message.responses[0].kind, ipc::ResponseKind::kTensors);
  CHECK_EQ(message.responses[0].outputs.size(), 1U);
  CheckTensor(message.responses[0].outputs[0], "OUT");
  CHECK_EQ(message.responses[0].parameters[0].type, ipc::ParameterType::kDouble);
  CHECK_EQ(message.responses[1].kind, ipc::ResponseKind::kError);
  CHECK_EQ(message.responses[1].code, ipc::Code::kInvalidArg);
  CHECK_EQ(message.responses[1].text, "this one failed");
  CHECK_EQ(message.responses[2].kind, ipc::ResponseKind::kNone);
  CHECK(message.state_outputs == (std::vector<std::string_view>{"a state", "another"}));
}

TEST(Messages, CallComesBack) {
  const Bytes bytes = Encoded(SomeCall());

  const auto message = ipc::DecodeCall(bytes);

  CHECK_EQ(message.model_name, "another model");
  CHECK_EQ(message.model_version, -7);
  CHECK_EQ(message.slot, 1023U);
  CHECK_EQ(message.request.id, "a request");
  CHECK_EQ(message.request.timeout_us, 8U);
  CHECK_EQ(message.request.parameters.size(), 2U);
  CHECK_EQ(message.request.requested_outputs.size(), 3U);
  CheckTensor(message.request.inputs.at(0), "IN");
}

TEST(Messages, CallAnswerComesBack) {
  const Bytes bytes = Encoded(SomeCallAnswer());

  const auto message = ipc::DecodeCallAnswer(bytes);

  CHECK_EQ(message.leases.size(), 2U);
  CHECK_EQ(message.leases[1].offset, 5U);
  CHECK(!message.last);
  CHECK_EQ(message.responses.at(0).kind, ipc::ResponseKind::kTensors);
  CheckTensor(message.responses.at(0).outputs.at(0), "OUT");
  CHECK_EQ(message.responses.at(0).parameters.at(0).name, "d");
}

TEST(Messages, LogLineComesBack) {
  const Bytes bytes = Encoded(SomeLogLine());

  const auto message = ipc::DecodeLogLine(bytes);

  CHECK_EQ(message.level, ipc::LogLevel::kWarning);
  CHECK_EQ(message.line, 42U);
  CHECK_EQ(message.file, "model.py");
  CHECK_EQ(message.text, "a word\nor two");
}

TEST(Messages, EmptyOnesComeBack) {
  CHECK(ipc::DecodeExecute(Encoded(ipc::Execute{})).requests.empty());
  CHECK(ipc::DecodeLoad(Encoded(ipc::Load{})).config_json.empty());
  const auto reply = ipc::DecodeReply(Encoded(ipc::Reply{}));
  CHECK(!reply.failed && reply.responses.empty() && reply.kept.empty());
  CHECK_EQ(ipc::DecodeCall(Encoded(ipc::Call{})).model_version, -1);
  CHECK(ipc::DecodeCallAnswer(Encoded(ipc::CallAnswer{})).responses.empty());
  CHECK(ipc::DecodeLogLine(Encoded(ipc::LogLine{})).text.empty());
}

TEST(Messages, EveryBeginningOfOneIsRefused) {
  for (const auto& sample : Samples()) {
    for (std::size_t size = 0; size < sample.bytes.size(); ++size) {
      // A vector of its own, so that AddressSanitizer sees its end.
      const Bytes cut(sample.bytes.begin(), sample.bytes.begin() + static_cast<std::ptrdiff_t>(size));
      CHECK_THROWS(ProtocolError, sample.recode(cut));
    }
    CHECK(sample.recode(sample.bytes) == sample.bytes);
  }
}

TEST(Messages, OneWithBytesTooManyIsRefused) {
  for (auto& sample : Samples()) {
    sample.bytes.resize(sample.bytes.size() + 8);
    CHECK_THROWS(ProtocolError, sample.recode(sample.bytes));
  }
}

TEST(Messages, AnyChangedByteIsAnotherMessageOrAProtocolError) {
  for (const auto& sample : Samples()) {
    std::size_t refused = 0;
    for (std::size_t at = 0; at < sample.bytes.size(); ++at) {
      for (const auto change : {0x01, 0x02, 0x08, 0x10, 0x40, 0x80, 0xFF}) {
        Bytes changed = sample.bytes;
        changed[at] ^= static_cast<std::byte>(change);
        try {
          const Bytes again = sample.recode(changed);
          CHECK(sample.recode(again) == again);
        } catch (const ProtocolError&) {
          ++refused;
        }
      }
    }
    CHECK(refused > 100 || (sample.kind == std::string_view("LogLine") && refused > 50));
  }
}

TEST(Messages, CountsThatLieAreRefusedAtOnce) {
  for (const std::uint32_t count : {1000U, ipc::kMaxCount, ipc::kMaxCount + 1, 0xFFFFFFFFU}) {
    CHECK_THROWS(ProtocolError, ipc::DecodeExecute(Lie(std::uint64_t{count}, 64)));
    CHECK_THROWS(ProtocolError, ipc::DecodeExecute(Lie(std::uint64_t{count} << 32, 64)));
    ipc::ReplyRecord responses{};
    responses.response_count = count;
    CHECK_THROWS(ProtocolError, ipc::DecodeReply(Lie(responses, 64)));
    ipc::ReplyRecord kept{};
    kept.kept_count = count;
    CHECK_THROWS(ProtocolError, ipc::DecodeReply(Lie(kept, 64)));
    ipc::ReplyRecord states{};
    states.state_count = count;
    CHECK_THROWS(ProtocolError, ipc::DecodeReply(Lie(states, 64)));
    CHECK_THROWS(ProtocolError, ipc::DecodeLoad(Lie(std::uint64_t{count}, 64)));
    CHECK_THROWS(ProtocolError, ipc::DecodeCallAnswer(Lie(ipc::CallAnswerRecord{count, 1}, 64)));
    ipc::ResponseRecord outputs{};
    outputs.output_count = count;
    Bytes answer(sizeof(ipc::CallAnswerRecord) + sizeof(std::uint64_t));  // no leases
    answer[0] = std::byte{1};                                             // one response
    std::ranges::copy(Lie(outputs, 64), std::back_inserter(answer));
    CHECK_THROWS(ProtocolError, ipc::DecodeCallAnswer(answer));
    ipc::RequestRecord inputs{};
    inputs.input_count = count;
    Bytes call(sizeof(ipc::CallRecord) + sizeof(std::uint64_t));  // and no name
    std::ranges::copy(Lie(inputs, 64), std::back_inserter(call));
    CHECK_THROWS(ProtocolError, ipc::DecodeCall(call));
  }
}

TEST(Messages, NumbersThatNameNothingAreRefused) {
  const auto changed = [](auto change) {
    auto message = SomeReply();
    change(message);
    return Encoded(message);
  };
  const std::vector<std::pair<const char*, Bytes>> lies{
      {"dtype 0",
       changed([](auto& reply) { reply.responses[0].outputs[0].dtype = ipc::DataType::kInvalid; })},
      {"dtype 15", changed([](auto& reply) { reply.responses[0].outputs[0].dtype = ipc::DataType{15}; })},
      {"memory 3",
       changed([](auto& reply) { reply.responses[0].outputs[0].memory_type = ipc::MemoryType{3}; })},
      {"place 2", changed([](auto& reply) { reply.responses[0].outputs[0].place = ipc::Place{2}; })},
      {"parameter 4",
       changed([](auto& reply) { reply.responses[0].parameters[0].type = ipc::ParameterType{4}; })},
      {"response 5", changed([](auto& reply) { reply.responses[0].kind = ipc::ResponseKind{5}; })},
  };

  for (const auto& [what, bytes] : lies) {
    try {
      ipc::DecodeReply(bytes);
    } catch (const ProtocolError&) {
      continue;
    }
    throw testing::Failure(__FILE__, __LINE__, std::string("decoded ") + what);
  }
}

TEST(Messages, ALevelThatTheLogDoesNotKnowIsRefused) {
  auto message = SomeLogLine();
  message.level = ipc::LogLevel{4};

  CHECK_THROWS(ProtocolError, ipc::DecodeLogLine(Encoded(message)));
}

TEST(Messages, ACodeOfANewerPeerIsInternal) {
  auto message = SomeReply();
  message.code = ipc::Code{8};
  const Bytes bytes = Encoded(message);

  CHECK_EQ(ipc::DecodeReply(bytes).code, ipc::Code::kInternal);
}

TEST(Messages, DimensionsHaveALimitOnBothSides) {
  const std::vector<std::int64_t> most(ipc::kMaxDims, 1);
  const std::vector<std::int64_t> more(ipc::kMaxDims + 1, 1);
  auto message = SomeReply();
  message.responses[0].outputs[0].shape = most;
  const Bytes bytes = Encoded(message);
  CHECK_EQ(ipc::DecodeReply(bytes).responses[0].outputs[0].shape.size(), ipc::kMaxDims);

  message.responses[0].outputs[0].shape = more;
  CHECK_EQ(CHECK_THROWS(ipc::Error, Encoded(message)),
           "tensor 'OUT' has 257 dimensions: at most 256 are supported");
  Writer writer;
  writer.PutNumbers(more);
  CHECK_THROWS(ProtocolError, Reader(writer.bytes()).GetNumbers(ipc::kMaxDims));
}

TEST(Codec, StringsOfAnyLengthKeepTheNextRecordAligned) {
  for (std::size_t size = 0; size < 20; ++size) {
    Writer writer;
    const std::string text(size, 'x');
    writer.PutString(text);
    writer.Put(std::uint64_t{42});
    CHECK_EQ(writer.bytes().size(), 16 + (size + 7) / 8 * 8);

    Reader reader(writer.bytes());
    CHECK_EQ(reader.GetString(), text);
    CHECK_EQ(reader.Get<std::uint64_t>(), 42U);
    reader.ExpectEnd();
  }
}

TEST(Codec, LengthsThatOverflowAreRefused) {
  for (const std::uint64_t length :
       {9ULL, 0x2000000000000000ULL, 0x7FFFFFFFFFFFFFFFULL, 0xFFFFFFFFFFFFFFF9ULL, ~0ULL}) {
    Writer writer;
    writer.Put(length);
    writer.Put(std::uint64_t{0});
    CHECK_THROWS(ProtocolError, Reader(writer.bytes()).GetString());
    CHECK_THROWS(ProtocolError, Reader(writer.bytes()).GetNumbers(ipc::kMaxDims));
  }
}

TEST(Codec, AClearedWriterStartsAnew) {
  Writer writer;
  writer.PutString("old");
  writer.Clear();
  writer.PutString("new");

  Reader reader(writer.bytes());
  CHECK_EQ(reader.GetString(), "new");
  reader.ExpectEnd();
}

TEST(DataTypes, HaveTheNamesAndSizesOfTriton) {
  const std::vector<std::pair<std::string_view, std::size_t>> expected{
      {"BOOL", 1},  {"UINT8", 1}, {"UINT16", 2}, {"UINT32", 4}, {"UINT64", 8}, {"INT8", 1},  {"INT16", 2},
      {"INT32", 4}, {"INT64", 8}, {"FP16", 2},   {"FP32", 4},   {"FP64", 8},   {"BYTES", 0}, {"BF16", 2}};

  for (std::uint32_t number = 1; number <= expected.size(); ++number) {
    const auto dtype = ipc::DataTypeFromWire(number);
    CHECK(dtype.has_value());
    CHECK_EQ(ipc::DataTypeName(*dtype), expected[number - 1].first);
    CHECK_EQ(ipc::ElementSize(*dtype), expected[number - 1].second);
  }
  CHECK(!ipc::DataTypeFromWire(0).has_value());
  CHECK(!ipc::DataTypeFromWire(15).has_value());
  CHECK_EQ(ipc::DataTypeName(ipc::DataType{99}), "<invalid>");
}

}  // namespace
}  // namespace tpb
