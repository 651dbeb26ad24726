// Who asks whether a model is ready, and which answer each gets.
#include "backend/control/ready_check.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <future>
#include <string>
#include <thread>

#include "ipc/error.h"
#include "ipc/wire.h"
#include "tests/cpp/check.h"

namespace {

namespace ipc = tpb::ipc;
using tpb::backend::control::ReadyCheck;

constexpr std::chrono::milliseconds kShort{20};
constexpr std::chrono::hours kLong{1};

// The model's side is whoever looks at the line.
struct Asked {
  explicit Asked(std::chrono::milliseconds limit) : check(line, limit) {}

  // What the caller is told; "yes" when it is ready.
  std::string Ask() {
    try {
      check.Ask("m_0", gone);
      return "yes";
    } catch (const ipc::Error& error) {
      return std::to_string(static_cast<int>(error.code())) + " " + error.message();
    }
  }
  std::future<std::string> AskElsewhere() {
    return std::async(std::launch::async, [this] { return Ask(); });
  }
  std::uint32_t AwaitQuestion(std::uint32_t after) const {
    while (line.ready_question.load() == after) {
      std::this_thread::yield();
    }
    return line.ready_question.load();
  }

  ipc::ControlLine line{};
  std::atomic<bool> gone{false};
  ReadyCheck check;
};

bool Sleeps(pid_t thread) {
  std::ifstream stat("/proc/self/task/" + std::to_string(thread) + "/stat");
  std::string line;
  std::getline(stat, line);
  const auto end = line.rfind(')');
  return end != std::string::npos && line.substr(end, 3) == ") S";
}

TEST(ReadyCheck, SaysWhatTheModelSays) {
  Asked asked(kLong);
  const auto answer = [&](ipc::Readiness readiness, const char* text) {
    const std::uint32_t before = asked.line.ready_question.load();
    auto told = asked.AskElsewhere();
    CHECK(asked.check.Answer(asked.AwaitQuestion(before), readiness, text));
    return told.get();
  };

  CHECK(answer(ipc::Readiness::kReady, "") == "yes");
  CHECK(answer(ipc::Readiness::kNotReady, "") == "4 Model 'm_0' is not ready (user-defined check failed).");
  CHECK(answer(ipc::Readiness::kFailed, "why") == "1 why");
  CHECK(answer(ipc::Readiness::kReady, "") == "yes");
}

TEST(ReadyCheck, EndsAtItsLimitAndTheNextGetsTheLateAnswer) {
  Asked asked(kShort);

  CHECK(asked.Ask() == "4 Timed out waiting for user-defined is_ready() response");
  CHECK(asked.Ask() == "4 Timed out waiting for in-flight is_ready() response");
  CHECK(asked.line.ready_question.load() == 1);  // both waited for the same

  CHECK(asked.check.Answer(1, ipc::Readiness::kReady, ""));
  CHECK(asked.Ask() == "4 Timed out waiting for user-defined is_ready() response");
  CHECK(asked.line.ready_question.load() == 2);
}

TEST(ReadyCheck, DropsAnAnswerThatNobodyAskedFor) {
  Asked asked(kShort);

  CHECK(!asked.check.Answer(0, ipc::Readiness::kReady, ""));
  asked.Ask();
  CHECK(!asked.check.Answer(7, ipc::Readiness::kReady, ""));
  CHECK(asked.check.Answer(1, ipc::Readiness::kReady, ""));
  CHECK(!asked.check.Answer(1, ipc::Readiness::kReady, ""));
}

TEST(ReadyCheck, SeveralShareOneQuestion) {
  Asked asked(kLong);
  auto first = asked.AskElsewhere();
  asked.AwaitQuestion(0);
  std::atomic<pid_t> second{0};
  std::string told;
  std::thread other([&] {
    second = ::gettid();
    told = asked.Ask();
  });
  while (second == 0 || !Sleeps(second)) {
    std::this_thread::yield();
  }

  CHECK(asked.check.Answer(1, ipc::Readiness::kNotReady, ""));

  other.join();
  CHECK(told == "4 Model 'm_0' is not ready (user-defined check failed).");
  CHECK(first.get() == told);
  CHECK(asked.line.ready_question.load() == 1);
}

TEST(ReadyCheck, EndsWithTheStub) {
  Asked asked(kLong);
  auto told = asked.AskElsewhere();
  asked.AwaitQuestion(0);

  asked.gone = true;
  asked.check.Wake();

  CHECK(told.get() == "1 Stub process is not healthy while waiting for user-defined is_ready() response");
}

}  // namespace
