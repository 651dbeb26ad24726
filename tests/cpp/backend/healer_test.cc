// The stub of an instance is replaced when it dies, later each time, and not for ever.
#include "backend/healer.h"

#include <poll.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ipc/error.h"
#include "tests/cpp/check.h"

namespace {

using namespace std::chrono_literals;
using tpb::backend::Generation;
using tpb::backend::Healer;
using tpb::backend::HealingPolicy;
using tpb::ipc::Error;

struct FakeStub final : Generation {
  FakeStub() = default;
  FakeStub(const FakeStub&) = delete;
  FakeStub& operator=(const FakeStub&) = delete;
  ~FakeStub() override {
    if (at_end) {
      at_end();
    }
  }
  void Initialize() override {
    if (initialize) {
      initialize();
    }
  }
  [[nodiscard]] bool gone() const noexcept override { return dead; }
  void Condemn(const std::string& /*why*/) noexcept override { dead = true; }
  [[nodiscard]] std::string Epitaph() const override { return "It was eaten."; }
  [[nodiscard]] std::string Cause() const override { return "hunger"; }

  std::atomic<bool> dead{false};
  std::function<void()> initialize;
  std::function<void()> at_end;
};

// An instance whose stubs die when a test says so.
struct Ward {
  explicit Ward(HealingPolicy with = {}) : policy(with) {
    policy.first_pause = 1ms;
    healer = std::make_unique<Healer>(
        "m_0", policy,
        Healer::Callbacks{.spawn = [this](int interrupt) { return Spawn(interrupt); },
                          .sibling_serves = [this] { return sibling.load(); },
                          .wanted = [this] { return wanted.load(); },
                          .changed = [this](bool up) { serving += up ? 1 : -1; },
                          .died = [this](const std::string& cause) { causes.push_back(cause); },
                          .tell = [](const std::string&) {},
                          .complain = [this](const std::string& text) { last_complaint = text; }});
    current = std::make_shared<FakeStub>();
    healer->Begin(current);
  }

  std::shared_ptr<Generation> Spawn(int interrupt) {
    ++spawned;
    if (spawn) {
      spawn(interrupt);
    }
    auto stub = std::make_shared<FakeStub>();
    stub->initialize = initialize;
    stub->at_end = at_end;
    if (keeps_current) {
      current = stub;
    }
    return stub;
  }

  void Kill() {
    std::static_pointer_cast<FakeStub>(healer->Await())->dead = true;
    healer->Notice();
  }

  HealingPolicy policy;
  std::function<void(int)> spawn;
  std::function<void()> initialize;
  std::function<void()> at_end;
  bool keeps_current = true;
  std::atomic<int> spawned{0};
  std::atomic<int> serving{0};
  std::atomic<bool> sibling{false};
  std::atomic<bool> wanted{true};
  std::vector<std::string> causes;  // read once the healer has stopped, like the next
  std::string last_complaint;       // read once the healer has stopped
  std::shared_ptr<FakeStub> current;
  std::unique_ptr<Healer> healer;
};

TEST(Healer, ADeadStubIsReplacedWithoutARequest) {
  Ward ward;
  ward.Kill();
  while (ward.spawned == 0) {
    std::this_thread::sleep_for(1ms);
  }
  CHECK(ward.healer->Await() != nullptr);
  CHECK_EQ(ward.healer->restarts(), std::uint64_t{1});
  CHECK_EQ(ward.serving.load(), 1);
}

// As a real one does, on a thread that its end waits for.
TEST(Healer, AStubMayGiveNoticeWhileItEnds) {
  Ward ward;
  ward.keeps_current = false;
  std::atomic<bool> serves{true};
  ward.at_end = [&] {
    if (serves) {
      ward.healer->Notice();
    }
  };
  ward.current->at_end = ward.at_end;
  ward.current.reset();
  ward.initialize = [&] {
    if (ward.spawned == 1) {
      throw Error(tpb::ipc::Code::kInternal, "not yet");
    }
  };
  ward.Kill();
  CHECK(ward.healer->Await() != nullptr);
  CHECK_EQ(ward.spawned.load(), 2);
  serves = false;
}

TEST(Healer, WhoeverComesMeanwhileWaitsForTheNextOne) {
  Ward ward;
  std::promise<void> may_start;
  ward.spawn = [&](int) { may_start.get_future().wait(); };
  ward.Kill();
  auto waiting = std::async(std::launch::async, [&] { return ward.healer->Await(); });
  CHECK(waiting.wait_for(50ms) == std::future_status::timeout);
  CHECK(ward.healer->Current() == nullptr);
  may_start.set_value();
  const auto got = waiting.get();
  CHECK(got == ward.healer->Current());
}

TEST(Healer, AWaitEndsWithTheReasonWhenNoneComesInTime) {
  Ward ward({.hold = 20ms});
  std::promise<void> may_start;
  ward.spawn = [&](int) { may_start.get_future().wait(); };
  ward.Kill();
  while (ward.spawned == 0) {
    std::this_thread::sleep_for(1ms);
  }
  const std::string text = CHECK_THROWS(Error, ward.healer->Await());
  CHECK(text.starts_with("Stub process 'm_0' is not healthy. It was eaten. A new one is being started"));
  may_start.set_value();
}

TEST(Healer, WhoDiesAgainAndAgainIsLeftAloneForAWhile) {
  Ward ward({.max_deaths = 3, .open = 10min});
  for (int i = 0; i < 3; ++i) {
    ward.Kill();
  }
  const std::string text = CHECK_THROWS(Error, ward.healer->Await());
  CHECK(text.find("That was 3 times within 60 s: the next try is in") != std::string::npos);
  CHECK_EQ(ward.spawned.load(), 2);
  ward.healer->Stop();
  CHECK(ward.last_complaint.find("'m_0' is not started anew for 600 s") != std::string::npos);
}

TEST(Healer, OneMoreTryFollowsAndOneMoreDeathIsEnough) {
  Ward ward({.max_deaths = 2, .hold = 10s, .open = 20ms});
  ward.sibling = true;  // so that a wait outlasts the open breaker
  ward.Kill();
  ward.Kill();
  CHECK(ward.healer->Await() != nullptr);
  CHECK_EQ(ward.spawned.load(), 2);
  ward.sibling = false;
  ward.Kill();
  while (true) {
    try {
      ward.healer->Await();
      break;
    } catch (const Error&) {
      std::this_thread::sleep_for(1ms);
    }
  }
  CHECK_EQ(ward.spawned.load(), 3);
}

TEST(Healer, AStubThatDoesNotComeUpCountsAsADeath) {
  Ward ward({.max_deaths = 3, .hold = 10s, .open = 10min});
  ward.initialize = [] { throw Error(tpb::ipc::Code::kInternal, "no weights"); };
  ward.Kill();
  const std::string text = CHECK_THROWS(Error, ward.healer->Await());
  CHECK(text.find("It did not come up: no weights. That was 3 times") != std::string::npos);
  CHECK_EQ(ward.spawned.load(), 2);
}

TEST(Healer, EachDeathIsCountedByItsCause) {
  Ward ward({.max_deaths = 3, .hold = 10s, .open = 10min});
  ward.initialize = [] { throw Error(tpb::ipc::Code::kInternal, "no weights"); };
  ward.Kill();
  CHECK_THROWS(Error, ward.healer->Await());
  ward.healer->Stop();
  CHECK(ward.causes == std::vector<std::string>({"hunger", "start", "start"}));
}

TEST(Healer, WhatCoreIsAboutToUnloadIsNotReplaced) {
  Ward ward({.hold = 10min});
  ward.wanted = false;
  ward.Kill();
  const std::string text = CHECK_THROWS(Error, ward.healer->Await());
  CHECK(text.ends_with("The model is being unloaded."));
  CHECK_EQ(ward.spawned.load(), 0);
}

TEST(Healer, AStopEndsTheOneThatIsBeingStarted) {
  Ward ward;
  std::promise<void> spawning;
  ward.spawn = [&](int interrupt) {
    spawning.set_value();
    pollfd end{.fd = interrupt, .events = POLLIN, .revents = 0};
    CHECK_EQ(::poll(&end, 1, 60'000), 1);
    throw Error(tpb::ipc::Code::kUnavailable, "interrupted");
  };
  ward.Kill();
  spawning.get_future().wait();
  CHECK(ward.healer->Stop() == nullptr);
  CHECK_EQ(ward.serving.load(), 0);
}

TEST(Healer, AStopEndsAnInitializationThatHangs) {
  Ward ward;
  std::promise<void> initializing;
  ward.initialize = [&] {
    initializing.set_value();
    while (!ward.current->gone()) {
      std::this_thread::sleep_for(1ms);
    }
    throw Error(tpb::ipc::Code::kInternal, "gone");
  };
  ward.Kill();
  initializing.get_future().wait();
  CHECK(ward.healer->Stop() == nullptr);
}

TEST(Healer, AStopGivesWhatIsUp) {
  Ward ward;
  CHECK(ward.healer->Stop() == ward.current);
  const std::string text = CHECK_THROWS(Error, [&] {
    ward.current->dead = true;
    ward.healer->Await();
  }());
  CHECK(text.starts_with("Stub process 'm_0' is not healthy."));
}

TEST(Healer, NothingIsReplacedWhereThatIsSwitchedOff) {
  Ward ward({.restart = false});
  ward.Kill();
  const std::string text = CHECK_THROWS(Error, ward.healer->Await());
  CHECK(text.starts_with("Stub process 'm_0' is not healthy."));
  CHECK_EQ(ward.spawned.load(), 0);
}

}  // namespace
