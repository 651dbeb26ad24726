#include "ipc/ring.h"

#include <sched.h>
#include <sys/eventfd.h>

#include <bit>
#include <chrono>
#include <cstring>
#include <iterator>
#include <string>

#include "ipc/error.h"
#include "ipc/futex.h"

namespace tpb::ipc {
namespace {

constexpr std::chrono::seconds kLookAgain{1};

// How long a waiter looks, giving its processor to whoever else can use it, before it sleeps. Waking a thread
// on an idle processor takes about as long; docs/decisions/0004 has the measurements.
constexpr std::chrono::microseconds kLookFor{50};

RingControl& ControlAt(std::byte* ring) { return *reinterpret_cast<RingControl*>(ring); }

Slot* SlotsAt(std::byte* ring) { return reinterpret_cast<Slot*>(ring + sizeof(RingControl)); }

}  // namespace

RingProducer::RingProducer(std::byte* ring, std::uint32_t capacity, int wake_fd)
    : control_(ControlAt(ring)), slots_(SlotsAt(ring)), capacity_(capacity), wake_fd_(wake_fd) {
  if (!std::has_single_bit(capacity)) {
    throw ProtocolError("a ring of " + std::to_string(capacity) + " slots: expected a power of two");
  }
}

bool RingProducer::TryPush(const Slot& slot, std::vector<Block>& blocks) {
  {
    const std::scoped_lock lock(mutex_);
    ReclaimLocked();
    if (tail_ - head_seen_ == capacity_) {
      return false;
    }
    if (!blocks.empty()) {
      handed_.push_back({tail_ + 1, std::move(blocks)});
    }
    std::memcpy(&slots_[tail_ & (capacity_ - 1)], &slot, sizeof(slot));
    ++tail_;
    pushed_.fetch_add(1, std::memory_order_release);
    // Pairs with the acquire load of tail in RingConsumer::Peek: the slot and its body are written before.
    control_.producer.tail.store(tail_, std::memory_order_release);
  }
  Wake();
  return true;
}

void RingProducer::Reclaim() {
  const std::scoped_lock lock(mutex_);
  ReclaimLocked();
}

bool RingProducer::AllTaken() {
  const std::scoped_lock lock(mutex_);
  ReclaimLocked();
  return head_seen_ == tail_;
}

void RingProducer::ReclaimLocked() {
  // Pairs with the release store of head in RingConsumer::Advance: the consumer has done reading.
  const std::uint32_t head = control_.consumer.head.load(std::memory_order_acquire);
  if (tail_ - head > capacity_ || head - head_seen_ > capacity_) {
    throw ProtocolError("the peer moved a ring's head to an impossible place");
  }
  head_seen_ = head;
  auto first_kept = handed_.begin();
  // Signed difference: the indices wrap.
  while (first_kept != handed_.end() && static_cast<std::int32_t>(head - first_kept->tail) >= 0) {
    ++first_kept;
  }
  handed_.erase(handed_.begin(), first_kept);
}

void RingProducer::Wake() noexcept {
  // The consumer stores `waiting`, fences and loads tail; we have stored tail, fence and load `waiting`: one
  // of the two sees the other.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (control_.consumer.waiting.load(std::memory_order_relaxed) == 0) {
    return;
  }
  control_.consumer.waiting.store(0, std::memory_order_relaxed);
  if (wake_fd_ >= 0) {
    ::eventfd_write(wake_fd_, 1);
    return;
  }
  control_.consumer.doorbell.fetch_add(1, std::memory_order_release);
  FutexWakeAll(control_.consumer.doorbell);
}

RingConsumer::RingConsumer(std::byte* ring, std::uint32_t capacity)
    : control_(ControlAt(ring)), slots_(SlotsAt(ring)), capacity_(capacity) {
  if (!std::has_single_bit(capacity)) {
    throw ProtocolError("a ring of " + std::to_string(capacity) + " slots: expected a power of two");
  }
}

std::optional<Slot> RingConsumer::Peek() {
  const std::uint32_t tail = control_.producer.tail.load(std::memory_order_acquire);
  if (tail == head_) {
    return std::nullopt;
  }
  if (tail - head_ > capacity_) {
    throw ProtocolError("the peer moved a ring's tail to an impossible place");
  }
  Slot slot;
  std::memcpy(&slot, &slots_[head_ & (capacity_ - 1)], sizeof(slot));
  return slot;
}

void RingConsumer::Advance() noexcept {
  ++head_;
  control_.consumer.head.store(head_, std::memory_order_release);
}

WaitResult RingConsumer::Sleep(Deadline deadline, const std::atomic<bool>& peer_gone) {
  while (true) {
    const std::uint32_t doorbell = control_.consumer.doorbell.load(std::memory_order_acquire);
    if (!PrepareToSleep()) {
      Awake();
      return WaitResult::kMessage;
    }
    if (peer_gone.load(std::memory_order_acquire)) {
      Awake();
      return WaitResult::kPeerGone;
    }
    if (deadline.Passed()) {
      Awake();
      return WaitResult::kTimeout;
    }
    FutexWait(control_.consumer.doorbell, doorbell, deadline.Left(kLookAgain));
    Awake();
  }
}

bool RingConsumer::Look() const noexcept {
  const auto until = Deadline::Clock::now() + kLookFor;
  do {
    if (control_.producer.tail.load(std::memory_order_acquire) != head_) {
      return true;
    }
    ::sched_yield();
  } while (Deadline::Clock::now() < until);
  return false;
}

void RingConsumer::Wake() noexcept {
  control_.consumer.doorbell.fetch_add(1, std::memory_order_release);
  FutexWakeAll(control_.consumer.doorbell);
}

bool RingConsumer::PrepareToSleep() {
  control_.consumer.waiting.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return control_.producer.tail.load(std::memory_order_acquire) == head_;
}

void RingConsumer::Awake() noexcept { control_.consumer.waiting.store(0, std::memory_order_relaxed); }

}  // namespace tpb::ipc
