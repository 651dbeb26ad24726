// Writes the inputs that the fuzzers start from, into <folder>/messages and <folder>/conversation: what a
// stub says, encoded as the stub encodes it, and each of it once more with a lie.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ipc/codec.h"
#include "ipc/messages.h"
#include "tests/fuzz/inputs.h"

namespace {

namespace ipc = tpb::ipc;
using ipc::MessageKind;
using tpb::fuzz::Area;
using tpb::fuzz::BytesOf;
using tpb::fuzz::Kind;
using tpb::fuzz::Recipe;
using tpb::fuzz::Step;

using Bytes = std::vector<std::byte>;

constexpr std::array<std::int64_t, 2> kShape{2, 2};
constexpr std::array<std::int64_t, 1> kTwo{2};
// Two strings, "ab" and "".
constexpr std::string_view kStrings("\2\0\0\0ab\0\0\0\0", 10);

class Folder {
 public:
  explicit Folder(std::filesystem::path path) : path_(std::move(path)) {
    std::filesystem::create_directories(path_);
  }
  void Write(const std::string& name, const Recipe& recipe) const {
    std::ofstream file(path_ / name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(recipe.bytes().data()),
               static_cast<std::streamsize>(recipe.bytes().size()));
    file.exceptions(std::ios::failbit | std::ios::badbit);
  }

 private:
  const std::filesystem::path path_;
};

template <typename Message>
Bytes Encoded(const Message& message) {
  ipc::Writer writer;
  ipc::Encode(message, writer);
  return {writer.bytes().begin(), writer.bytes().end()};
}

ipc::Tensor InStubArena(ipc::DataType dtype = ipc::DataType::kFp32) {
  ipc::Tensor tensor;
  tensor.name = "OUT";
  tensor.dtype = dtype;
  tensor.shape = dtype == ipc::DataType::kBytes ? std::span<const std::int64_t>(kTwo) : kShape;
  tensor.place = ipc::Place::kStubArena;
  tensor.size = dtype == ipc::DataType::kBytes ? kStrings.size() : 16;
  return tensor;
}

// The first input of the first batch, passed through.
ipc::Tensor InServerArena() {
  ipc::Tensor tensor = InStubArena();
  tensor.place = ipc::Place::kServerArena;
  tensor.lease = 1;
  return tensor;
}

std::vector<ipc::Parameter> Parameters() {
  return {{.name = "s", .type = ipc::ParameterType::kString, .bits = 0, .text = "text"},
          {.name = "i", .type = ipc::ParameterType::kInt, .bits = ~std::uint64_t{0}, .text = {}},
          {.name = "b", .type = ipc::ParameterType::kBool, .bits = 1, .text = {}},
          {.name = "d", .type = ipc::ParameterType::kDouble, .bits = 0x3ff0000000000000, .text = {}}};
}

ipc::Response Tensors() {
  return {.kind = ipc::ResponseKind::kTensors,
          .text = {},
          .outputs = {InStubArena(), InServerArena(), InStubArena(ipc::DataType::kBytes)},
          .parameters = Parameters()};
}

ipc::Response Of(ipc::ResponseKind kind) {
  ipc::Response response;
  response.kind = kind;
  response.code = ipc::Code::kUnavailable;
  response.text = kind == ipc::ResponseKind::kError ? "it failed" : "";
  return response;
}

ipc::Reply ReplyWith(std::vector<ipc::Response> responses, std::vector<std::uint64_t> kept = {}) {
  ipc::Reply reply;
  reply.kept = std::move(kept);
  reply.responses = std::move(responses);
  return reply;
}

ipc::Request ARequest() {
  ipc::Request request;
  request.id = "id";
  request.correlation_text = "sequence";
  request.correlation_is_text = true;
  request.timeout_us = 1000;
  request.priority = 1;
  request.response_id = 1;
  request.trace_context = "{}";
  request.requested_outputs = {"OUT"};
  request.parameters = Parameters();
  request.inputs = {InStubArena(), InStubArena(ipc::DataType::kBytes)};
  return request;
}

ipc::Call CallIn(std::uint32_t slot, std::uint32_t flags = 0) {
  ipc::Call call;
  call.model_name = "other";
  call.parent = 1;
  call.slot = slot;
  call.flags = flags;
  call.request = ARequest();
  return call;
}

ipc::Ask AskFor(ipc::AskKind kind, std::uint64_t handle = 0, std::uint32_t option = 0) {
  ipc::Ask ask;
  ask.kind = kind;
  ask.slot = 7;
  ask.handle = handle;
  ask.option = option;
  ask.name = "name";
  ask.text = "1";
  ask.pairs = {{"label", "value"}};
  ask.numbers = {1.0, 2.0};
  return ask;
}

// One sentence each: what a stub says, by the first byte of the input.
std::vector<std::pair<Kind, Bytes>> Messages() {
  ipc::LogLine line;
  line.file = "model.py";
  line.text = "a line";
  ipc::Reply failed;
  failed.failed = true;
  failed.text = "ValueError: no";
  ipc::Reply loaded;
  loaded.max_batch_size = 8;
  loaded.flags = ipc::kReplyDecoupled | ipc::kReplyHasReadyCheck;
  loaded.state_outputs = {"STATE"};
  const ipc::LeaseRecord lease{.lease = 1, .offset = 0, .size = 64};
  const ipc::CallAnswer answer{.leases = {lease}, .responses = {Tensors()}, .last = true};
  ipc::Load load;
  load.model_name = "m";
  load.config_json = "{}";
  ipc::AskAnswer asked;
  asked.bits = 3;
  ipc::StubHello hello{};
  hello.magic = ipc::kHelloMagic;
  hello.wire_version = ipc::kWireVersion;
  std::memcpy(hello.package_version, "1.0", 3);
  const auto hello_bytes = std::as_bytes(std::span(&hello, 1));
  ipc::Writer ready;
  ready.PutString("not yet");
  Bytes strings(8);
  strings[0] = std::byte{2};
  strings.insert(strings.end(), BytesOf(kStrings).begin(), BytesOf(kStrings).end());
  const auto text = [](std::string_view bytes) {
    return Bytes(BytesOf(bytes).begin(), BytesOf(bytes).end());
  };
  return {{Kind::kReply, Encoded(ReplyWith({Tensors(), Of(ipc::ResponseKind::kError)}, {1, 2}))},
          {Kind::kReply, Encoded(failed)},
          {Kind::kReply, Encoded(loaded)},
          {Kind::kResponse, Encoded(Tensors())},
          {Kind::kResponse, Encoded(Of(ipc::ResponseKind::kError))},
          {Kind::kCall, Encoded(CallIn(3))},
          {Kind::kLogLine, Encoded(line)},
          {Kind::kAsk, Encoded(AskFor(ipc::AskKind::kNewMetric, 1))},
          {Kind::kReadyAnswer, {ready.bytes().begin(), ready.bytes().end()}},
          {Kind::kHello, {hello_bytes.begin(), hello_bytes.end()}},
          {Kind::kHello, text("TPBFAIL1no numpy")},
          {Kind::kStep, text("TPBSTEP1unpacking")},
          {Kind::kStep, text("TPBWARN1no cache")},
          {Kind::kBytes, strings},
          {Kind::kPrinted, text("\5one\r\n\4two\r\3\xc3\xa4\n\1")},
          {Kind::kExecute, Encoded(ipc::Execute{.leases = {lease}, .requests = {ARequest()}})},
          {Kind::kLoad, Encoded(load)},
          {Kind::kCallAnswer, Encoded(answer)},
          {Kind::kAskAnswer, Encoded(asked)}};
}

void WriteMessages(const Folder& folder) {
  int count = 0;
  for (const auto& [kind, body] : Messages()) {
    const std::string name = std::to_string(count++);
    folder.Write(name, Recipe().Put(kind).PutRaw(body));
    // The same with an impossible number where a count or a length may be, and without its end.
    Bytes lie = body;
    for (std::size_t i = body.size() / 2; i < body.size() && i < body.size() / 2 + 4; ++i) {
      lie[i] = std::byte{0xff};
    }
    folder.Write(name + "-lie", Recipe().Put(kind).PutRaw(lie));
    folder.Write(name + "-cut", Recipe().Put(kind).PutRaw(std::span(body).first(body.size() / 2)));
  }
}

// The bits of an input's first byte.
constexpr std::uint8_t kPlain = 0;
constexpr std::uint8_t kDecoupled = 1;
constexpr std::uint8_t kOthersDecoupled = 2;

Recipe Start(std::uint8_t model) {
  Recipe recipe;
  recipe.Put(model);
  return recipe;
}

Recipe& Event(Recipe& recipe, Recipe::Message message) { return recipe.PutMessage(Step::kEvent, message); }

Recipe& Handle(Recipe& recipe) { return recipe.Put(Step::kHandle).Put(std::uint8_t{64}); }

// A batch of two requests, what the stub does about it before it replies, and the reply.
Recipe& Batch(Recipe& recipe, const std::vector<Recipe::Message>& events, const ipc::Reply& reply,
              std::uint8_t id = 1) {
  recipe.PutPoke(Area::kStubArena, 0, BytesOf(kStrings));
  recipe.Put(Step::kBegin).Put(std::uint8_t{1});
  for (const auto& event : events) {
    Event(recipe, event);
  }
  const Bytes body = Encoded(reply);
  recipe.PutMessage(Step::kReply,
                    {.id = id, .sent_before = static_cast<std::uint8_t>(events.size()), .body = body});
  return recipe.Put(Step::kReceive);
}

void WriteBatches(const Folder& folder) {
  using ipc::ResponseKind;
  const ipc::Reply two = ReplyWith({Tensors(), Of(ResponseKind::kError)}, {1});
  const ipc::Reply open = ReplyWith({Of(ResponseKind::kOpen), Of(ResponseKind::kNone)});
  const ipc::Reply again = ReplyWith({Of(ResponseKind::kReschedule), Tensors()});
  const Bytes response = Encoded(Tensors());
  const Bytes error = Encoded(Of(ResponseKind::kError));
  const Recipe::Message respond{.kind = MessageKind::kRespond, .flags = 1, .id = 1, .body = response};
  const Recipe::Message more{.kind = MessageKind::kRespond, .id = 1, .body = response};
  const Recipe::Message last{.kind = MessageKind::kRespond, .flags = 1, .id = 2};
  const Recipe::Message fails{.kind = MessageKind::kRespond, .flags = 1, .id = 2, .body = error};
  const Recipe::Message abandon{.kind = MessageKind::kAbandon, .id = 2};
  const Recipe::Message watch{.kind = MessageKind::kWatch, .id = 1, .word = 3};
  const Recipe::Message release{.kind = MessageKind::kRelease, .id = 1, .sent_before = 1};

  Recipe plain = Start(kPlain);
  Batch(plain, {release}, two);
  Handle(Batch(plain, {}, again, 2));
  folder.Write("replies", plain);
  Recipe sender = Start(kPlain);
  Handle(
      Batch(sender, {watch, respond, fails}, ReplyWith({Of(ResponseKind::kNone), Of(ResponseKind::kNone)})));
  folder.Write("senders", sender);
  Recipe stream = Start(kDecoupled);
  Batch(stream, {more, watch, more}, open).Put(Step::kCancel).Put(std::uint8_t{0});
  Handle(Event(Event(Event(Handle(stream), more), abandon), {.kind = MessageKind::kRespond, .flags = 1}));
  folder.Write("stream", stream);
  Recipe twice = Start(kPlain);
  Handle(Batch(twice, {respond, respond, last, last}, two));
  folder.Write("twice", twice);
  Recipe wrong = Start(kPlain);
  Batch(wrong, {}, two, 9).PutMessage(Step::kReply, {.kind = MessageKind::kLog, .body = response});
  wrong.Put(Step::kReceive);
  folder.Write("wrong-ids", wrong);
}

void WriteCalls(const Folder& folder) {
  Recipe calls = Start(kPlain);
  calls.PutPoke(Area::kStubArena, 0, BytesOf(kStrings)).Put(Step::kBegin).Put(std::uint8_t{0});
  const std::array<Bytes, 3> bodies{Encoded(CallIn(0)), Encoded(CallIn(1, ipc::kCallRings)),
                                    Encoded(CallIn(2, ipc::kCallBlocks))};
  for (std::uint8_t i = 0; i < bodies.size(); ++i) {
    const auto id = static_cast<std::uint8_t>(i + 1);
    Event(calls, {.kind = MessageKind::kCall, .id = id, .body = bodies[i]});
  }
  Event(Handle(calls), {.kind = MessageKind::kCancelCall, .id = 2});
  Event(calls, {.kind = MessageKind::kCancelCall, .flags = 1, .id = 3});
  for (std::uint8_t how = 0; how < 3; ++how) {
    Handle(calls.Put(Step::kAnswer).Put(how).Put(std::uint8_t{32})).Put(Step::kRelease);
  }
  Event(calls, {.kind = MessageKind::kRelease, .id = 2});
  folder.Write("calls", Handle(calls));

  Recipe stream = Start(kOthersDecoupled);
  const Bytes body = Encoded(CallIn(0, ipc::kCallDecoupled));
  stream.PutPoke(Area::kStubArena, 0, BytesOf(kStrings));
  Handle(Event(stream, {.kind = MessageKind::kCall, .id = 1, .body = body}));
  for (int i = 0; i < 3; ++i) {
    stream.Put(Step::kAnswer).Put(std::uint8_t{3}).Put(std::uint8_t{16});
    Handle(Event(stream, {.kind = MessageKind::kTaken, .id = 1}));
  }
  folder.Write("call-stream", stream.Put(Step::kRelease));

  Recipe full = Start(kPlain);
  const Bytes one = Encoded(CallIn(5));
  full.PutPoke(Area::kStubArena, 0, BytesOf(kStrings));
  Event(Event(full, {.kind = MessageKind::kCall, .id = 1, .body = one}),
        {.kind = MessageKind::kCall, .id = 2, .body = one});
  folder.Write("call-slot-twice", Handle(full));
}

void WriteQuestions(const Folder& folder) {
  Recipe metrics = Start(kPlain);
  for (std::uint32_t option = 0; option < 3; ++option) {
    const Bytes family = Encoded(AskFor(ipc::AskKind::kNewFamily, 0, option));
    Event(metrics, {.kind = MessageKind::kAsk, .id = 1, .body = family});
    // Handles go up from 1: families and metrics in turn.
    const Bytes metric = Encoded(AskFor(ipc::AskKind::kNewMetric, 1 + 2 * std::uint64_t{option}));
    Event(metrics, {.kind = MessageKind::kAsk, .id = 2, .body = metric});
  }
  const Bytes value = Encoded(AskFor(ipc::AskKind::kMetricValue, 2));
  Event(metrics, {.kind = MessageKind::kAsk, .id = 3, .body = value});
  for (std::uint8_t what = 0; what < 5; ++what) {
    const auto id = static_cast<std::uint8_t>(what == 4 ? 1 : 2);
    Event(metrics, {.kind = MessageKind::kMetricUpdate, .id = id, .word = what});
  }
  folder.Write("metrics", Handle(metrics));

  Recipe control = Start(kPlain);
  for (const auto kind :
       {ipc::AskKind::kLoadModel, ipc::AskKind::kUnloadModel, ipc::AskKind::kIsModelReady}) {
    const Bytes ask = Encoded(AskFor(kind));
    Event(control, {.kind = MessageKind::kAsk, .id = 1, .body = ask});
  }
  folder.Write("control", Handle(control));

  Recipe ready = Start(kPlain);
  ipc::Writer text;
  text.PutString("not yet");
  ready.Put(Step::kIsReady);
  Event(ready, {.kind = MessageKind::kReadyAnswer, .id = 1, .word = 2, .body = text.bytes()});
  folder.Write("ready", Handle(ready).Put(Step::kGiveBack));

  Recipe log = Start(kPlain);
  ipc::LogLine line;
  line.level = ipc::LogLevel::kWarning;
  line.file = "model.py";
  line.text = "a line\n";
  const Bytes body = Encoded(line);
  Event(Event(log, {.kind = MessageKind::kLog, .body = body}), {.kind = MessageKind::kGaveBack});
  folder.Write("log", Handle(log));
}

// Nothing but lies: indices, and a slot and memory that no message speaks of.
void WriteLies(const Folder& folder) {
  Recipe index = Start(kPlain);
  index.Put(Step::kMove).Put(std::uint8_t{2}).Put(std::uint8_t{0}).Put(std::uint32_t{1000});
  folder.Write("index", Handle(index));
  Recipe head = Start(kPlain);
  head.Put(Step::kMove).Put(std::uint8_t{0}).Put(std::uint8_t{1}).Put(std::uint32_t{7});
  folder.Write("head", head.Put(Step::kBegin).Put(std::uint8_t{0}));
  Recipe slot = Start(kPlain);
  ipc::Slot raw{};
  raw.kind = static_cast<std::uint32_t>(MessageKind::kCall);
  raw.offset = ~std::uint64_t{0} - 8;
  raw.size = 64;
  slot.Put(Step::kSlot).PutRaw(std::as_bytes(std::span(&raw, 1)));
  folder.Write("slot", Handle(slot));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s <folder>\n", argv[0]);
    return 2;
  }
  try {
    const std::filesystem::path folder(argv[1]);
    WriteMessages(Folder(folder / "messages"));
    const Folder conversation(folder / "conversation");
    WriteBatches(conversation);
    WriteCalls(conversation);
    WriteQuestions(conversation);
    WriteLies(conversation);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
