#include "ipc/call_slots.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <thread>
#include <utility>

#include "ipc/deadline.h"
#include "ipc/error.h"
#include "ipc/region.h"
#include "ipc/wire.h"
#include "tests/cpp/check.h"
#include "tests/cpp/process.h"

namespace tpb {
namespace {

using ipc::CallSlot;
using ipc::PostAnswer;
using ipc::Posted;

constexpr std::size_t kSlots = 4;
constexpr Posted kAnswer{.lease = 5, .offset = 640, .size = 77};

bool NeverGone() { return false; }

// Slots in memory that a forked child shares, and the stub's end of them.
struct Calls {
  explicit Calls(std::size_t count = kSlots)
      : region(ipc::Region::Create("tpb-test-calls", kPage, kPage)),
        slots(reinterpret_cast<CallSlot*>(region->data()), count),
        ends(slots) {}

  static constexpr std::uint64_t kPage = 4096;
  std::shared_ptr<ipc::Region> region;
  std::span<CallSlot> slots;
  ipc::CallSlots ends;
};

// Returns once `thread` sleeps in `slot`.
void AwaitSleeper(const CallSlot& slot, const std::atomic<pid_t>& thread) {
  while (thread == 0 || slot.waiting.load() == 0 || !testing::IsAsleep(thread)) {
    std::this_thread::yield();
  }
}

// Calls waiting to be answered: what the events ring does between two processes, for one caller.
struct Mailbox {
  std::atomic<std::uint64_t> id{0};  // 0: none
  std::atomic<std::uint32_t> slot{0};
};

// The next call, and the slot that it waits in.
std::pair<std::uint64_t, CallSlot&> TakeCall(std::span<CallSlot> slots, Mailbox& mailbox) {
  std::uint64_t id = 0;
  while ((id = mailbox.id.exchange(0, std::memory_order_acquire)) == 0) {
    std::this_thread::yield();
  }
  return {id, slots[mailbox.slot.load(std::memory_order_relaxed)]};
}

// Answers `count` calls; every eighth only when its caller is about to sleep.
void AnswerCalls(std::span<CallSlot> slots, Mailbox& mailbox, std::uint64_t count) {
  for (std::uint64_t done = 0; done < count; ++done) {
    const auto [id, slot] = TakeCall(slots, mailbox);
    while (done % 8 == 0 && slot.waiting.load(std::memory_order_relaxed) == 0) {
      std::this_thread::yield();
    }
    PostAnswer(slot, id, {.lease = id, .offset = id + 1, .size = id + 2});
  }
}

// Gives up when `gone`: a call that nobody answers must not outlive its test.
void MakeCalls(ipc::CallSlots& ends, Mailbox& mailbox, std::uint64_t count,
               const std::function<bool()>& gone = NeverGone) {
  for (std::uint64_t id = 1; id <= count; ++id) {
    const auto slot = ends.Take();
    CHECK(slot.has_value());
    mailbox.slot.store(*slot, std::memory_order_relaxed);
    mailbox.id.store(id, std::memory_order_release);
    const auto posted = ends.Await(*slot, id, gone);
    CHECK(posted.has_value());
    CHECK_EQ(posted->lease, id);
    CHECK_EQ(posted->offset, id + 1);
    CHECK_EQ(posted->size, id + 2);
    ends.GiveBack(*slot);
  }
}

TEST(CallSlots, GivesEachSlotToOneCallerAtATime) {
  Calls calls;
  std::set<std::uint32_t> taken;
  for (std::size_t i = 0; i < kSlots; ++i) {
    const auto slot = calls.ends.Take();
    CHECK(slot.has_value());
    CHECK(*slot < kSlots);
    CHECK(taken.insert(*slot).second);
  }

  CHECK(!calls.ends.Take().has_value());
  calls.ends.GiveBack(2);
  CHECK(calls.ends.Take() == std::optional<std::uint32_t>(2));
  CHECK(!calls.ends.Take().has_value());
}

TEST(CallSlots, TakesAnAnswerThatIsThereWithoutSleeping) {
  Calls calls;
  const auto slot = calls.ends.Take();
  PostAnswer(calls.slots[*slot], 9, kAnswer);

  // Not even a peer that is gone takes an answer back.
  const auto posted = calls.ends.Await(*slot, 9, [] { return true; });

  CHECK(posted.has_value());
  CHECK_EQ(posted->lease, kAnswer.lease);
  CHECK_EQ(posted->offset, kAnswer.offset);
  CHECK_EQ(posted->size, kAnswer.size);
  CHECK(!posted->no_room);
  CHECK_EQ(calls.slots[*slot].waiting.load(), 0U);
}

TEST(CallSlots, SaysThatThereWasNoRoomForAnAnswer) {
  Calls calls;
  const auto slot = calls.ends.Take();
  PostAnswer(calls.slots[*slot], 9, {.no_room = true, .wanted = 1U << 30});

  const auto posted = calls.ends.Await(*slot, 9, NeverGone);

  CHECK(posted->no_room);
  CHECK_EQ(posted->wanted, 1U << 30);
}

// A wait looks again once a second by itself: if PostAnswer() did not wake it, so many rounds would outlast
// the test's time.
TEST(CallSlots, AnAnswerWakesACallerThatSleeps) {
  Calls calls;
  for (std::uint64_t round = 1; round <= 200; ++round) {
    const auto slot = calls.ends.Take();
    std::atomic<pid_t> thread{0};
    auto caller = std::async(std::launch::async, [&] {
      thread = ::gettid();
      return calls.ends.Await(*slot, round, NeverGone);
    });
    AwaitSleeper(calls.slots[*slot], thread);

    PostAnswer(calls.slots[*slot], round, kAnswer);

    CHECK(caller.get().has_value());
    calls.ends.GiveBack(*slot);
  }
}

TEST(CallSlots, ASlotThatWasUsedBeforeAwaitsItsOwnAnswer) {
  Calls calls(1);
  const auto first = calls.ends.Take();
  calls.slots[*first].waiting = 1;
  PostAnswer(calls.slots[*first], 1, kAnswer);
  CHECK(calls.ends.Await(*first, 1, NeverGone).has_value());
  calls.ends.GiveBack(*first);

  const auto second = calls.ends.Take();

  CHECK_EQ(calls.slots[*second].answered.load(), 0U);
  CHECK_EQ(calls.slots[*second].waiting.load(), 0U);
  CHECK(!calls.ends.Await(*second, 2, [] { return true; }).has_value());
}

TEST(CallSlots, AWaitEndsWhenThePeerIsGone) {
  Calls calls;
  const auto slot = calls.ends.Take();
  std::atomic<bool> gone{false};
  std::atomic<pid_t> thread{0};
  auto caller = std::async(std::launch::async, [&] {
    thread = ::gettid();
    return calls.ends.Await(*slot, 1, [&gone] { return gone.load(); });
  });
  AwaitSleeper(calls.slots[*slot], thread);

  gone = true;

  CHECK(!caller.get().has_value());
}

TEST(CallSlots, TheAnswerToAnotherCallIsRefused) {
  Calls calls;
  const auto slot = calls.ends.Take();
  PostAnswer(calls.slots[*slot], 8, kAnswer);

  CHECK_EQ(CHECK_THROWS(ipc::ProtocolError, calls.ends.Await(*slot, 9, NeverGone)),
           "the answer to call 8 in the place of call 9");
}

// A thread that was woken is not asleep any more, even if no processor is free for it.
bool IsWoken(const CallSlot& slot, pid_t thread) {
  for (int look = 0; look < 10; ++look) {
    if (slot.answered.load() == 0 || slot.waiting.load() == 0) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (!testing::IsAsleep(thread)) {
      return true;
    }
  }
  return false;
}

void Spin(std::chrono::nanoseconds time) {
  const auto until = ipc::Deadline::Clock::now() + time;
  while (ipc::Deadline::Clock::now() < until) {
  }
}

// Answers arrive around the moment at which the caller stops looking and goes to sleep.
TEST(CallSlots, NoCallerSleepsOverAnAnswer) {
  constexpr std::uint64_t kCalls = 5000;
  Calls calls;
  Mailbox mailbox;
  std::atomic<pid_t> thread{0};
  std::atomic<bool> over{false};
  auto calling = std::async(std::launch::async, [&] {
    thread = ::gettid();
    MakeCalls(calls.ends, mailbox, kCalls, [&over] { return over.load(); });
  });
  for (std::uint64_t done = 0; done < kCalls && !over; ++done) {
    const auto [id, slot] = TakeCall(calls.slots, mailbox);
    if (id % 2 == 0) {
      Spin(std::chrono::nanoseconds(44000 + id * 7919 % 16000));  // it looks for 50 us
    } else {
      while (slot.waiting.load(std::memory_order_relaxed) == 0) {
        std::this_thread::yield();
      }
      Spin(std::chrono::nanoseconds(id * 7919 % 4000));
    }
    PostAnswer(slot, id, {.lease = id, .offset = id + 1, .size = id + 2});
    over = !IsWoken(slot, thread);
  }
  CHECK(!over);
  calling.get();
}

TEST(CallSlots, NoAnswerIsLostBetweenThreads) {
  constexpr std::uint64_t kEach = 100000;
  Calls calls(2);
  Mailbox one;
  Mailbox other;
  auto answering_one = std::async(std::launch::async, [&] { AnswerCalls(calls.slots, one, kEach); });
  auto answering_other = std::async(std::launch::async, [&] { AnswerCalls(calls.slots, other, kEach); });
  auto calling = std::async(std::launch::async, [&] { MakeCalls(calls.ends, one, kEach); });

  MakeCalls(calls.ends, other, kEach);

  calling.get();
  answering_one.get();
  answering_other.get();
}

TEST(CallSlots, NoAnswerIsLostBetweenProcesses) {
  constexpr std::uint64_t kCalls = 20000;
  Calls calls(2);
  auto& mailbox = *new (calls.region->data() + 2 * sizeof(CallSlot)) Mailbox;
  testing::Child server([&] { AnswerCalls(calls.slots, mailbox, kCalls); });

  MakeCalls(calls.ends, mailbox, kCalls);

  CHECK_EQ(server.Wait(), "exit 0");
}

}  // namespace
}  // namespace tpb
