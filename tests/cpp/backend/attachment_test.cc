// A real process at the other end: what the threads of the server that look after one stub do at the same
// time, for the thread sanitizer, too.
#include "backend/attachment.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backend/batch.h"
#include "backend/healer.h"
#include "ipc/error.h"
#include "tests/cpp/backend/stand_in_core.h"
#include "tests/cpp/check.h"

namespace {

using namespace std::chrono_literals;
namespace ipc = tpb::ipc;
using tpb::backend::Attachment;
using tpb::backend::Generation;
using tpb::backend::Healer;
using tpb::backend::HealingPolicy;
using tpb::backend::LaunchPlan;
using tpb::backend::Spawner;

class Host {
 public:
  Host() { UseStandInCore(); }

  std::unique_ptr<Attachment> Spawn(const std::string& how, std::function<bool()> leaving = {}) {
    const LaunchPlan plan{.argv = {STAND_IN_STUB, std::to_string(LaunchPlan::kSocketNumber), how},
                          .environment = {},
                          .placement = tpb::backend::Placement::OfThisThread(),
                          .config = {}};
    return Attachment::Spawn(spawner_, plan,
                             {.region_name = "attachment_test",
                              .max_bytes = 8U << 20U,
                              .package_version = TPB_VERSION,
                              .label = "m_0",
                              .complain = [this](const std::string& text) { Note(text); },
                              .report = [](const ipc::Step&) {},
                              .gateway = nullptr,
                              .leaving = std::move(leaving),
                              .leaving_timeout = 1s});
  }

  [[nodiscard]] std::string complaints() {
    const std::scoped_lock lock(mutex_);
    return complaints_;
  }

 private:
  void Note(const std::string& text) {
    const std::scoped_lock lock(mutex_);
    complaints_ += text + "\n";
  }

  Spawner spawner_;
  std::mutex mutex_;
  std::string complaints_;
};

bool Ask(Attachment& stub, ipc::Deadline deadline = ipc::Deadline::Never()) {
  const bool answered = stub.Exchange(ipc::MessageKind::kExecute, {}, deadline).has_value();
  stub.Settle();
  return answered;
}

TEST(Attachment, AnswersComeWhileOtherThreadsLookOn) {
  Host host;
  const auto stub = host.Spawn("answers");
  std::atomic<bool> enough{false};
  auto looking = std::async(std::launch::async, [&] {
    while (!enough) {
      CHECK(!stub->gone());
      CHECK(!stub->condemned());
      CHECK_EQ(stub->Cause(), "unknown");
    }
  });
  for (int i = 0; i < 300; ++i) {
    CHECK(Ask(*stub));
  }
  enough = true;
  looking.get();
  CHECK(stub->dropped() > 0);
  stub->Finalize(ipc::Deadline::After(60s));
  CHECK_EQ(host.complaints(), "");
}

TEST(Attachment, ADeathIsToldByItsCause) {
  Host host;
  const auto stub = host.Spawn("exits");
  std::promise<void> told;
  stub->OnGone([&] { told.set_value(); });
  CHECK(!Ask(*stub));
  told.get_future().get();
  CHECK(stub->gone() && !stub->condemned() && stub->HasReadLast());
  CHECK_EQ(stub->Epitaph(), "It exited with status 7.");
  CHECK_EQ(stub->Cause(), "exit 7");
}

TEST(Attachment, WhatIsStuckIsEndedByItsDeadline) {
  Host host;
  const auto stub = host.Spawn("hangs");
  CHECK(!Ask(*stub, ipc::Deadline::After(50ms)));
  CHECK(!stub->gone());
  stub->EndStuck("it took too long");
  CHECK(stub->gone() && stub->condemned() && stub->HasReadLast());
  CHECK_EQ(stub->Epitaph(), "It was ended: it took too long.");
  CHECK_EQ(stub->Cause(), "stuck");
}

TEST(Attachment, WhatAStoppedStubHasNotReadItHasNotExecuted) {
  Host host;
  const auto stub = host.Spawn("answers");
  CHECK(Ask(*stub));
  ::kill(stub->pid(), SIGSTOP);
  std::this_thread::sleep_for(50ms);
  CHECK(!Ask(*stub, ipc::Deadline::After(50ms)));
  stub->EndStuck("it took too long");
  CHECK(!stub->HasReadLast());
}

TEST(Attachment, ManyMayEndItAtOnce) {
  Host host;
  const auto stub = host.Spawn("hangs");
  auto asking = std::async(std::launch::async, [&] { return Ask(*stub); });
  std::vector<std::future<void>> ending;
  ending.reserve(4);
  for (int i = 0; i < 4; ++i) {
    ending.push_back(std::async(std::launch::async, [&stub, i] {
      i % 2 == 0 ? stub->Condemn("one") : stub->EndStuck("two");
      CHECK(stub->gone());
    }));
  }
  for (auto& end : ending) {
    end.get();
  }
  CHECK(!asking.get());
  const std::string epitaph = stub->Epitaph();
  CHECK(epitaph == "It was ended: one." || epitaph == "It was ended: two.");
}

TEST(Attachment, ARequestThatKeepsAModelThatIsToLeaveIsEnded) {
  Host host;
  std::atomic<bool> leaving{false};
  const auto stub = host.Spawn("hangs", [&] { return leaving.load(); });
  TRITONBACKEND_Request request = MakeRequest("IN", "1234");
  TRITONBACKEND_Request* const requests[] = {&request};
  tpb::backend::Batch batch(nullptr, requests);
  tpb::backend::Responders& responders = stub->responders();
  responders.SetFacts({.instance_name = "m_0", .decoupled = false, .states = {}});
  const tpb::backend::Responders::WithStub with_stub(responders, batch, responders.Reserve(1));
  auto asking = std::async(std::launch::async, [&] { return Ask(*stub); });
  CHECK(asking.wait_for(1500ms) == std::future_status::timeout);
  leaving = true;
  CHECK(!asking.get());
  CHECK(stub->Epitaph().starts_with("It was ended: its model is being unloaded, and 1 requests"));
  CHECK(host.complaints().find("is to be unloaded and works on 1 requests") != std::string::npos);
  batch.FailRest(ipc::Code::kInternal, "gone");
}

class RealStub final : public Generation {
 public:
  RealStub(Host& host, std::function<void()> on_gone) : stub_(host.Spawn("answers")) {
    stub_->OnGone(std::move(on_gone));
  }
  void Initialize() override { CHECK(Ask(*stub_)); }
  [[nodiscard]] bool gone() const noexcept override { return stub_->gone(); }
  void Condemn(const std::string& why) noexcept override { stub_->Condemn(why); }
  [[nodiscard]] std::string Epitaph() const override { return stub_->Epitaph(); }
  [[nodiscard]] std::string Cause() const override { return stub_->Cause(); }
  Attachment& stub() noexcept { return *stub_; }

 private:
  const std::unique_ptr<Attachment> stub_;
};

TEST(Attachment, AHealerReplacesWhatIsKilledUnderLoad) {
  Host host;
  std::unique_ptr<Healer> healer;
  const auto make = [&] { return std::make_shared<RealStub>(host, [&healer] { healer->Notice(); }); };
  std::atomic<int> deaths{0};
  HealingPolicy policy;
  policy.max_deaths = 1000;
  policy.first_pause = policy.longest_pause = 1ms;
  healer = std::make_unique<Healer>("m_0", policy,
                                    Healer::Callbacks{.spawn = [&](int) { return make(); },
                                                      .sibling_serves = [] { return false; },
                                                      .wanted = [] { return true; },
                                                      .changed = [](bool) {},
                                                      .died = [&](const std::string&) { ++deaths; },
                                                      .tell = [](const std::string&) {},
                                                      .complain = [](const std::string&) {}});
  healer->Begin(make());
  std::atomic<bool> enough{false};
  auto killing = std::async(std::launch::async, [&] {
    while (deaths < 5) {
      std::this_thread::sleep_for(20ms);
      if (const auto current = std::static_pointer_cast<RealStub>(healer->Current())) {
        ::kill(current->stub().pid(), SIGKILL);
      }
    }
    enough = true;
  });
  int answers = 0;
  while (!enough) {
    answers += Ask(std::static_pointer_cast<RealStub>(healer->Await())->stub()) ? 1 : 0;
  }
  killing.get();
  CHECK(answers > 0);
  while (!Ask(std::static_pointer_cast<RealStub>(healer->Await())->stub())) {  // the last one to be killed
  }
  healer->Stop();
}

}  // namespace
