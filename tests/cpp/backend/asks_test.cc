// What a stub may ask, and what it may not: whatever it names or claims harms nobody but itself.
#include "backend/control/asks.h"

#include <fcntl.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend/conversation.h"
#include "ipc/call_slots.h"
#include "ipc/channel.h"
#include "ipc/codec.h"
#include "ipc/error.h"
#include "ipc/handshake.h"
#include "ipc/messages.h"
#include "tests/cpp/backend/stand_in_core.h"
#include "tests/cpp/check.h"

namespace {

namespace ipc = tpb::ipc;
using tpb::backend::Conversation;

ipc::UniqueFd Duplicate(int fd) { return ipc::UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

// Both ends, in this process.
struct Talk {
  Talk() {
    UseStandInCore();
    server = Conversation::Create(
        {.region_name = "asks_test", .max_bytes = 8U << 20U, .label = "m", .gateway = nullptr});
    ipc::Welcome welcome;
    welcome.layout = server->channel().layout();
    welcome.memfd = Duplicate(server->channel().memfd());
    welcome.eventfd = Duplicate(server->channel().eventfd());
    stub = ipc::StubChannel::Attach(std::move(welcome));
    slots = std::make_unique<ipc::CallSlots>(stub->calls());
  }

  void Push(ipc::Slot slot, ipc::MessageKind kind, std::span<const std::byte> body = {}) const {
    slot.kind = static_cast<std::uint32_t>(kind);
    auto blocks = ipc::PutBody(*stub->arena(), body, slot);
    CHECK(stub->events().TryPush(slot, blocks));
  }
  void PushRecord(std::uint32_t kind, std::uint32_t slot, std::uint32_t option, std::uint32_t pairs) const {
    ipc::Writer body;
    body.Put(ipc::AskRecord{.kind = kind, .slot = slot, .handle = 0, .option = option, .pair_count = pairs});
    for (int strings = 0; strings < 2; ++strings) {
      body.PutString("");
    }
    body.PutNumbers({});
    Push({}, ipc::MessageKind::kAsk, body.bytes());
  }
  // The code and text of the refusal; empty when it is none.
  std::string Refusal(ipc::Ask ask) const {
    ask.slot = slots->Take().value();
    ipc::Slot event{};
    event.id = 7;
    ipc::Writer body;
    ipc::Encode(ask, body);
    Push(event, ipc::MessageKind::kAsk, body.bytes());
    server->HandleEvents(10);
    const auto posted = slots->Await(ask.slot, 7, [] { return true; });
    CHECK(posted.has_value());
    ipc::Slot answer{};
    answer.offset = posted->offset;
    answer.size = posted->size;
    const auto copy = stub->CopyBody(answer);
    const ipc::AskAnswer decoded = ipc::DecodeAskAnswer(copy);
    return decoded.failed ? std::to_string(static_cast<int>(decoded.code)) + " " + std::string(decoded.text)
                          : std::string();
  }
  // Why the stub is ended; empty when it is not.
  std::string Broken() const {
    try {
      server->HandleEvents(10);
      return {};
    } catch (const ipc::ProtocolError& error) {
      return error.message();
    }
  }

  std::shared_ptr<Conversation> server;
  std::unique_ptr<ipc::StubChannel> stub;
  std::unique_ptr<ipc::CallSlots> slots;
};

ipc::Ask AskFor(ipc::AskKind kind, std::uint64_t handle = 0) {
  ipc::Ask ask;
  ask.kind = kind;
  ask.handle = handle;
  return ask;
}

ipc::Slot Update(std::uint64_t handle, std::uint64_t what) {
  ipc::Slot slot{};
  slot.id = handle;
  slot.unused[0] = what;
  return slot;
}

TEST(Asks, RefusesHandlesThatItNeverGave) {
  const Talk talk;

  CHECK(talk.Refusal(AskFor(ipc::AskKind::kNewMetric, 1)) == "2 the metric family has been deleted");
  CHECK(talk.Refusal(AskFor(ipc::AskKind::kMetricValue, ~0ULL)) == "2 the metric has been deleted");
}

TEST(Asks, DropsUpdatesOfWhatIsNotThere) {
  const Talk talk;

  for (std::uint64_t what = 0; what <= 4; ++what) {
    talk.Push(Update(1, what), ipc::MessageKind::kMetricUpdate);
  }

  CHECK(talk.Broken().empty());
  CHECK(talk.server->dropped() == 5);
}

TEST(Asks, RefusesNamesOfTheServerAndTextsThatCoreWouldCut) {
  const Talk talk;
  const auto family = [&](std::string_view name, std::string_view help) {
    ipc::Ask ask = AskFor(ipc::AskKind::kNewFamily);
    ask.name = name;
    ask.text = help;
    return talk.Refusal(ask);
  };

  CHECK(family("nv_inference_count", "").starts_with("3 names of metrics that begin with 'nv_inference_'"));
  CHECK(family({"a\0b", 3}, "") == "3 the name of a metric contains a NUL character");
  CHECK(family("a", {"\0", 1}) == "3 the description of a metric contains a NUL character");
}

TEST(Asks, RefusesToControlModelsWithoutAServer) {
  const Talk talk;

  for (const auto kind :
       {ipc::AskKind::kLoadModel, ipc::AskKind::kUnloadModel, ipc::AskKind::kIsModelReady}) {
    CHECK(talk.Refusal(AskFor(kind)) == "4 models cannot be controlled from here");
  }
}

TEST(Asks, EndsAStubThatBreaksTheProtocol) {
  const auto broken_by = [](const std::function<void(const Talk&)>& send) {
    const Talk talk;
    send(talk);
    return !talk.Broken().empty();
  };

  CHECK(broken_by([](const Talk& talk) { talk.PushRecord(6, 0, 0, 0); }));
  CHECK(broken_by([](const Talk& talk) { talk.PushRecord(2, ipc::kCallSlots, 0, 0); }));
  CHECK(broken_by([](const Talk& talk) { talk.PushRecord(1, 0, 0, 1); }));
  CHECK(broken_by([](const Talk& talk) { talk.PushRecord(1, 0, 0, ~0U); }));
  CHECK(broken_by([](const Talk& talk) { talk.PushRecord(0, 0, 3, 0); }));
  CHECK(broken_by([](const Talk& talk) { talk.Push({}, ipc::MessageKind::kAsk); }));
  CHECK(broken_by([](const Talk& talk) { talk.Push(Update(0, 3), ipc::MessageKind::kReadyAnswer); }));
  CHECK(broken_by([](const Talk& talk) { talk.Push(Update(0, 2), ipc::MessageKind::kReadyAnswer); }));
  CHECK(!broken_by([](const Talk& talk) { talk.Push(Update(0, 1), ipc::MessageKind::kReadyAnswer); }));
}

}  // namespace
