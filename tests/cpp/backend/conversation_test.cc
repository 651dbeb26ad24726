// What a stub may say, and what it may not: lines for the log.
#include "backend/conversation.h"

#include <fcntl.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ipc/channel.h"
#include "ipc/error.h"
#include "ipc/handshake.h"
#include "ipc/messages.h"
#include "tests/cpp/backend/stand_in_core.h"
#include "tests/cpp/check.h"

namespace {

namespace ipc = tpb::ipc;
using ipc::LogLevel;
using tpb::backend::Conversation;

constexpr std::uint32_t kAllLevels = 0xf;
constexpr std::chrono::milliseconds kPatience{10};
using Lines = std::vector<std::string>;

ipc::UniqueFd Duplicate(int fd) { return ipc::UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

// Both ends, in this process.
struct Talk {
  explicit Talk(std::uint32_t enabled_levels) {
    UseStandInCore();
    LogOfStandIn() = {.enabled = enabled_levels, .lines = {}};
    server = Conversation::Create({.region_name = "conversation_test",
                                   .max_bytes = 8U << 20U,
                                   .label = "m",
                                   .gateway = nullptr,
                                   .events_patience = kPatience});
    ipc::Welcome welcome;
    welcome.layout = server->channel().layout();
    welcome.memfd = Duplicate(server->channel().memfd());
    welcome.eventfd = Duplicate(server->channel().eventfd());
    stub = ipc::StubChannel::Attach(std::move(welcome));
  }

  void Send(const ipc::LogLine& line) const {
    ipc::Writer body;
    ipc::Encode(line, body);
    ipc::Slot slot{};
    slot.kind = static_cast<std::uint32_t>(ipc::MessageKind::kLog);
    auto blocks = ipc::PutBody(*stub->arena(), body.bytes(), slot);
    CHECK(stub->events().TryPush(slot, blocks));
  }
  [[nodiscard]] std::uint32_t Told() const { return stub->control().log_levels.load(); }

  std::shared_ptr<Conversation> server;
  std::unique_ptr<ipc::StubChannel> stub;
};

TEST(Conversation, LogsLinesOfTheModel) {
  const Talk talk(kAllLevels);
  talk.Send({.level = LogLevel::kInfo, .line = 7, .file = "model.py", .text = "one\ntwo"});
  talk.Send({.level = LogLevel::kVerbose, .line = 4294967295, .file = "a\nb", .text = "\x1b[2J\xff"});
  talk.Send({.level = LogLevel::kError, .line = 0, .file = "", .text = ""});

  CHECK(!talk.server->HandleEvents(10));

  CHECK(LogOfStandIn().lines ==
        (Lines{"0 model.py:7 one\ntwo", "3 a\\x0ab:2147483647 \\x1b[2J\\xff", "2 :0 "}));
}

TEST(Conversation, DoesNotLogWhatTheLogDoesNotTake) {
  const Talk talk(0b0101);
  for (const auto level : {LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError, LogLevel::kVerbose}) {
    talk.Send({.level = level, .line = 1, .file = "f", .text = "t"});
  }

  CHECK(!talk.server->HandleEvents(10));

  CHECK(LogOfStandIn().lines == (Lines{"0 f:1 t", "2 f:1 t"}));
}

TEST(Conversation, TellsWhatTheLogTakes) {
  const Talk talk(0b0111);
  CHECK_EQ(talk.Told(), 0b0111U);

  LogOfStandIn().enabled = 0b1010;
  CHECK_EQ(talk.Told(), 0b0111U);
  talk.server->TellLogLevels();
  CHECK_EQ(talk.Told(), 0b1010U);
}

TEST(Conversation, RefusesLinesThatNoStubOfOursSends) {
  const std::string longest(128 << 10, 'x');
  const Talk longer(kAllLevels);
  longer.Send({.level = LogLevel::kInfo, .line = 1, .file = "f", .text = longest});
  CHECK_THROWS(ipc::ProtocolError, longer.server->HandleEvents(1));

  const Talk unknown(kAllLevels);
  unknown.Send({.level = static_cast<LogLevel>(4), .line = 1, .file = "f", .text = "t"});
  CHECK_THROWS(ipc::ProtocolError, unknown.server->HandleEvents(1));
  CHECK(LogOfStandIn().lines.empty());
}

TEST(Conversation, WaitsForEventsThatAreSlowToHandle) {
  const Talk talk(kAllLevels);
  const std::atomic<bool> gone{false};
  for (int i = 0; i < 3; ++i) {
    talk.Send({.level = LogLevel::kInfo, .line = 1, .file = "f", .text = "t"});
  }

  auto waiting = std::async(std::launch::async, [&] { talk.server->AwaitEvents(3, gone); });
  CHECK(waiting.wait_for(kPatience * 10) == std::future_status::timeout);
  CHECK(!talk.server->HandleEvents(10));
  waiting.get();
}

TEST(Conversation, DoesNotWaitForEventsThatWereNeverSent) {
  const Talk talk(kAllLevels);
  const std::atomic<bool> gone{false};
  talk.Send({.level = LogLevel::kInfo, .line = 1, .file = "f", .text = "t"});
  talk.Send({.level = LogLevel::kInfo, .line = 1, .file = "f", .text = "t"});
  CHECK(talk.server->HandleEvents(1));

  const std::string text = CHECK_THROWS(ipc::ProtocolError, talk.server->AwaitEvents(3, gone));
  CHECK_EQ(text, "the stub process claims 3 events, it sent 2");
  CHECK_THROWS(ipc::ProtocolError, talk.server->AwaitEvents(~std::uint64_t{0}, gone));
}

}  // namespace
