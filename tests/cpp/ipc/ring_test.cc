#include "ipc/ring.h"

#include <sys/eventfd.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ipc/arena.h"
#include "ipc/error.h"
#include "ipc/region.h"
#include "ipc/unique_fd.h"
#include "tests/cpp/check.h"
#include "tests/cpp/ipc/ring_position.h"
#include "tests/cpp/process.h"

namespace tpb {
namespace {

using ipc::Deadline;
using ipc::ProtocolError;
using ipc::RingConsumer;
using ipc::RingProducer;
using ipc::Slot;
using ipc::WaitResult;

constexpr std::uint64_t kRegionSize = std::uint64_t{1} << 20;
constexpr std::uint64_t kArenaAt = kRegionSize / 2;

const std::atomic<bool> kNeverGone{false};

Slot Message(std::uint64_t id) {
  Slot slot{};
  slot.id = id;
  return slot;
}

// Both ends of one ring, in this process, and an arena for the producer's blocks.
struct Ring {
  explicit Ring(std::uint32_t capacity, int wake_fd = -1)
      : producer(region->data(), capacity, wake_fd), consumer(region->data(), capacity) {}

  bool Push(std::uint64_t id) {
    std::vector<ipc::Block> none;
    return producer.TryPush(Message(id), none);
  }
  bool PushBlock(std::uint64_t id, std::uint64_t size) {
    std::vector<ipc::Block> blocks;
    blocks.push_back(arena->Allocate(size));
    const bool pushed = producer.TryPush(Message(id), blocks);
    CHECK_EQ(blocks.size(), pushed ? 0U : 1U);
    return pushed;
  }
  // The oldest message's id, given back.
  std::uint64_t Pop() {
    const auto slot = consumer.Peek();
    CHECK(slot.has_value());
    consumer.Advance();
    return slot->id;
  }
  [[nodiscard]] ipc::RingControl& control() const {
    return *reinterpret_cast<ipc::RingControl*>(region->data());
  }

  std::shared_ptr<ipc::Region> region = ipc::Region::Create("tpb-test-ring", kRegionSize, kRegionSize);
  std::shared_ptr<ipc::Arena> arena =
      ipc::Arena::Create(region, {.offset = kArenaAt, .size = kRegionSize - kArenaAt});
  RingProducer producer;
  RingConsumer consumer;
};

// Waits for a message and takes it.
std::uint64_t Await(RingConsumer& consumer) {
  CHECK_EQ(consumer.Wait(Deadline::Never(), kNeverGone), WaitResult::kMessage);
  const auto slot = consumer.Peek();
  CHECK(slot.has_value());
  consumer.Advance();
  return slot->id;
}

// Sends `rounds` messages, each after the answer to the one before: both sides sleep and are woken every
// time.
void Call(RingProducer& out, RingConsumer& in, std::uint64_t rounds) {
  std::vector<ipc::Block> none;
  for (std::uint64_t id = 1; id <= rounds; ++id) {
    CHECK(out.TryPush(Message(id), none));
    CHECK_EQ(Await(in), id);
  }
}

void Answer(RingConsumer& in, RingProducer& out, std::uint64_t rounds) {
  std::vector<ipc::Block> none;
  for (std::uint64_t id = 1; id <= rounds; ++id) {
    CHECK_EQ(Await(in), id);
    CHECK(out.TryPush(Message(id), none));
  }
}

TEST(Ring, GivesMessagesInTheirOrderAndWhole) {
  Ring ring(8);
  for (std::uint64_t id = 1; id <= 8; ++id) {
    Slot slot = Message(id);
    slot.kind = static_cast<std::uint32_t>(id);
    slot.offset = id * 2;
    slot.size = id * 3;
    slot.sent_before = id * 4;
    std::vector<ipc::Block> none;
    CHECK(ring.producer.TryPush(slot, none));
  }

  for (std::uint64_t id = 1; id <= 8; ++id) {
    const auto slot = ring.consumer.Peek();
    CHECK(slot.has_value());
    CHECK_EQ(slot->id, id);
    CHECK_EQ(slot->kind, id);
    CHECK_EQ(slot->offset, id * 2);
    CHECK_EQ(slot->size, id * 3);
    CHECK_EQ(slot->sent_before, id * 4);
    ring.consumer.Advance();
  }
  CHECK(!ring.consumer.Peek().has_value());
  CHECK_EQ(ring.producer.pushed(), 8U);
}

TEST(Ring, PeekLeavesTheMessageInThere) {
  Ring ring(2);
  CHECK(ring.Push(1));

  CHECK_EQ(ring.consumer.Peek()->id, 1U);
  CHECK_EQ(ring.consumer.Peek()->id, 1U);
}

TEST(Ring, RefusesAMessageWhenFullAndLeavesItsBlocks) {
  Ring ring(2);
  CHECK(ring.Push(1) && ring.Push(2));

  CHECK(!ring.Push(3));
  CHECK(!ring.PushBlock(3, 100));
  CHECK_EQ(ring.producer.pushed(), 2U);

  CHECK_EQ(ring.Pop(), 1U);
  CHECK(ring.Push(4));
  CHECK_EQ(ring.Pop(), 2U);
  CHECK_EQ(ring.Pop(), 4U);
}

TEST(Ring, GoesRoundManyTimes) {
  Ring ring(4);
  std::uint64_t pushed = 0;
  std::uint64_t popped = 0;
  for (int lap = 0; lap < 10000; ++lap) {
    while (ring.Push(pushed + 1)) {
      ++pushed;
    }
    for (int i = 0; i < 1 + lap % 4; ++i) {
      CHECK_EQ(ring.Pop(), ++popped);
    }
  }
  CHECK(pushed - popped < 4);
}

TEST(Ring, CrossesTheEndOfItsIndices) {
  Ring ring(4);
  testing::StartAt(ring.region->data(), ring.producer, ring.consumer, 0xFFFFFFF0);
  std::uint64_t pushed = 0;
  std::uint64_t popped = 0;

  for (int lap = 0; lap < 16; ++lap) {
    while (ring.PushBlock(pushed + 1, 64)) {
      ++pushed;
    }
    CHECK_EQ(pushed - popped, 4U);
    CHECK_EQ(ring.arena->BytesInUse(), 4U * 64);
    CHECK_EQ(ring.Pop(), ++popped);
    CHECK_EQ(ring.Pop(), ++popped);
    ring.producer.Reclaim();
    CHECK_EQ(ring.arena->BytesInUse(), 2U * 64);
  }
  CHECK(ring.control().producer.tail.load() < 0x100);
}

TEST(Ring, FreesBlocksExactlyWhenTheirMessageIsGivenBack) {
  Ring ring(8);
  CHECK(ring.PushBlock(1, 64) && ring.PushBlock(2, 128));
  CHECK(ring.Push(3));
  CHECK(ring.PushBlock(4, 256));

  ring.producer.Reclaim();
  CHECK_EQ(ring.arena->BytesInUse(), 448U);
  CHECK(ring.consumer.Peek().has_value());
  ring.producer.Reclaim();
  CHECK_EQ(ring.arena->BytesInUse(), 448U);  // looking gives nothing back
  ring.Pop();
  CHECK_EQ(ring.arena->BytesInUse(), 448U);  // not before the producer looks
  ring.producer.Reclaim();
  CHECK_EQ(ring.arena->BytesInUse(), 384U);
  ring.Pop();
  ring.Pop();
  CHECK(ring.Push(5));  // a push looks too
  CHECK_EQ(ring.arena->BytesInUse(), 256U);
  ring.Pop();
  ring.producer.Reclaim();
  CHECK_EQ(ring.arena->BytesInUse(), 0U);
}

TEST(Ring, FreesWhatIsInFlightWhenItEnds) {
  std::shared_ptr<ipc::Arena> arena;
  {
    Ring ring(8);
    arena = ring.arena;
    CHECK(ring.PushBlock(1, 64));
    CHECK_EQ(arena->BytesInUse(), 64U);
  }

  CHECK_EQ(arena->BytesInUse(), 0U);
}

TEST(Ring, TwoProducersLoseAndRepeatNothing) {
  constexpr std::uint64_t kEach = 20000;
  Ring ring(16);
  std::atomic<bool> stop{false};
  const auto produce = [&ring, &stop](std::uint64_t who) {
    for (std::uint64_t number = 1; number <= kEach; ++number) {
      while (!ring.PushBlock(who * kEach + number, 64) && !stop) {
        std::this_thread::yield();
      }
    }
  };
  auto first = std::async(std::launch::async, produce, 0);
  auto second = std::async(std::launch::async, produce, 1);

  std::uint64_t seen[2] = {0, 0};
  try {
    for (std::uint64_t i = 0; i < 2 * kEach; ++i) {
      const std::uint64_t id = Await(ring.consumer);
      const std::uint64_t who = id > kEach ? 1 : 0;
      CHECK_EQ(id, who * kEach + ++seen[who]);
    }
  } catch (...) {
    stop = true;
    throw;
  }
  first.get();
  second.get();
  ring.producer.Reclaim();
  CHECK_EQ(ring.producer.pushed(), 2 * kEach);
  CHECK_EQ(ring.arena->BytesInUse(), 0U);
}

TEST(Ring, WakesOnlyAConsumerThatSleeps) {
  Ring ring(8);
  CHECK(ring.Push(1));
  CHECK_EQ(ring.control().consumer.doorbell.load(), 0U);
  ring.Pop();

  CHECK(ring.consumer.PrepareToSleep());
  CHECK(ring.Push(2));
  CHECK_EQ(ring.control().consumer.doorbell.load(), 1U);
  CHECK(ring.Push(3));
  CHECK_EQ(ring.control().consumer.doorbell.load(), 1U);

  ring.Pop();
  ring.Pop();
  CHECK(ring.consumer.PrepareToSleep());
  ring.consumer.Awake();
  CHECK(ring.Push(4));
  CHECK_EQ(ring.control().consumer.doorbell.load(), 1U);
}

TEST(Ring, RingsItsEventfdOnlyForAConsumerThatSleeps) {
  const ipc::UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  Ring ring(8, wake.get());
  eventfd_t rung = 0;
  CHECK(ring.Push(1));
  CHECK(::eventfd_read(wake.get(), &rung) != 0);
  ring.Pop();

  CHECK(ring.consumer.PrepareToSleep());
  CHECK(ring.Push(2));
  CHECK(ring.Push(3));

  CHECK_EQ(::eventfd_read(wake.get(), &rung), 0);
  CHECK_EQ(rung, 1U);
  CHECK_EQ(ring.control().consumer.doorbell.load(), 0U);
}

TEST(Ring, DoesNotSleepOverAMessage) {
  Ring ring(8);
  CHECK(ring.Push(1));

  CHECK(!ring.consumer.PrepareToSleep());
  ring.consumer.Awake();
  CHECK_EQ(ring.consumer.Wait(Deadline::Never(), kNeverGone), WaitResult::kMessage);
  CHECK_EQ(ring.control().consumer.waiting.load(), 0U);
}

TEST(Ring, WaitEndsAtItsDeadline) {
  Ring ring(8);
  const auto start = Deadline::Clock::now();

  CHECK_EQ(ring.consumer.Wait(Deadline::After(std::chrono::milliseconds(20)), kNeverGone),
           WaitResult::kTimeout);

  CHECK(Deadline::Clock::now() - start >= std::chrono::milliseconds(20));
  CHECK_EQ(ring.control().consumer.waiting.load(), 0U);
}

// A wait looks again once a second by itself: if Wake() did not end it, so many rounds would outlast the
// test's time.
TEST(Ring, WaitEndsWhenThePeerIsGone) {
  for (std::uint32_t round = 0; round < 200; ++round) {
    Ring ring(8);
    std::atomic<bool> gone{false};
    std::atomic<pid_t> thread{0};
    auto waiter = std::async(std::launch::async, [&ring, &gone, &thread] {
      thread = ::gettid();
      return ring.consumer.Wait(Deadline::Never(), gone);
    });
    while (thread == 0 || ring.control().consumer.waiting.load() == 0 || !testing::IsAsleep(thread)) {
      std::this_thread::yield();
    }

    gone = true;
    ring.consumer.Wake();

    CHECK_EQ(waiter.get(), WaitResult::kPeerGone);
    CHECK_EQ(ring.control().consumer.doorbell.load(), 1U);
  }
}

TEST(Ring, AMessageIsTakenThoughThePeerIsGone) {
  Ring ring(8);
  const std::atomic<bool> gone{true};
  CHECK(ring.Push(1));

  CHECK_EQ(ring.consumer.Wait(Deadline::Never(), gone), WaitResult::kMessage);
  ring.Pop();
  CHECK_EQ(ring.consumer.Wait(Deadline::Never(), gone), WaitResult::kPeerGone);
}

TEST(Ring, TwoThreadsWakeEachOther) {
  constexpr std::uint64_t kRounds = 10000;
  Ring there(4);
  Ring back(4);
  auto other = std::async(std::launch::async, [&] { Answer(there.consumer, back.producer, kRounds); });

  Call(there.producer, back.consumer, kRounds);

  other.get();
}

TEST(Ring, TwoProcessesWakeEachOther) {
  constexpr std::uint64_t kRounds = 5000;
  Ring there(4);
  Ring back(4);
  testing::Child other([&] { Answer(there.consumer, back.producer, kRounds); });

  Call(there.producer, back.consumer, kRounds);

  CHECK_EQ(other.Wait(), "exit 0");
}

TEST(Ring, RefusesAnImpossibleTail) {
  for (const std::uint32_t tail : {9U, 1000U, 0x80000000U, 0xFFFFFFFFU}) {
    Ring ring(8);
    ring.control().producer.tail = tail;
    CHECK_THROWS(ProtocolError, ring.consumer.Peek());
  }
}

TEST(Ring, RefusesATailThatGoesBack) {
  Ring ring(8);
  CHECK(ring.Push(1) && ring.Push(2));
  ring.Pop();
  ring.Pop();

  ring.control().producer.tail = 1;

  CHECK_THROWS(ProtocolError, ring.consumer.Peek());
}

TEST(Ring, RefusesAnImpossibleHead) {
  for (const std::uint32_t head : {2U, 9U, 0x80000000U, 0xFFFFFFFFU}) {
    Ring ring(8);
    CHECK(ring.PushBlock(1, 64));
    ring.control().consumer.head = head;

    CHECK_THROWS(ProtocolError, ring.Push(2));
    CHECK_THROWS(ProtocolError, ring.producer.Reclaim());
    CHECK_EQ(ring.arena->BytesInUse(), 64U);
  }
}

TEST(Ring, RefusesAHeadThatGoesBack) {
  Ring ring(8);
  CHECK(ring.Push(1) && ring.Push(2));
  ring.Pop();
  ring.Pop();
  ring.producer.Reclaim();

  ring.control().consumer.head = 1;

  CHECK_THROWS(ProtocolError, ring.producer.Reclaim());
}

TEST(Ring, RefusesACapacityThatIsNoPowerOfTwo) {
  const auto region = ipc::Region::Create("tpb-test-ring", kRegionSize, kRegionSize);
  for (const std::uint32_t capacity : {0U, 3U, 12U}) {
    CHECK_THROWS(ProtocolError, RingProducer(region->data(), capacity, -1));
    CHECK_THROWS(ProtocolError, RingConsumer(region->data(), capacity));
  }
}

}  // namespace
}  // namespace tpb
