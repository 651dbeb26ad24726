// A single-producer, single-consumer ring of fixed slots between two processes. Each side keeps the index it
// owns in private memory and treats the other's as a hint that it checks; an impossible one is a
// ProtocolError.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "ipc/arena.h"
#include "ipc/deadline.h"
#include "ipc/wire.h"

namespace tpb::ipc {

// Bytes that a ring of `capacity` slots takes in the region.
constexpr std::uint64_t RingBytes(std::uint32_t capacity) {
  return sizeof(RingControl) + capacity * sizeof(Slot);
}

// The producing end. Threads of one process share it; nothing waits under its mutex.
class RingProducer {
 public:
  // `ring` points at the RingControl and outlives this object. `wake_fd` is an eventfd to ring instead of the
  // futex, or -1; it outlives this object too.
  RingProducer(std::byte* ring, std::uint32_t capacity, int wake_fd);

  // Hands a message over, and with it the blocks it names: they come back when the consumer has given the
  // slot back. False when the ring is full; the blocks are then untouched.
  bool TryPush(const Slot& slot, std::vector<Block>& blocks);

  // Frees what the consumer has given back since. TryPush does so too.
  void Reclaim();

  // Frees as Reclaim() does; true when the consumer has given everything back.
  bool AllTaken();

  // Messages pushed so far.
  [[nodiscard]] std::uint64_t pushed() const noexcept { return pushed_.load(std::memory_order_acquire); }

 private:
  struct Handed {
    std::uint32_t tail;  // given back once head has passed this
    std::vector<Block> blocks;
  };

  void ReclaimLocked();
  void Wake() noexcept;

  RingControl& control_;
  Slot* const slots_;
  const std::uint32_t capacity_;
  const int wake_fd_;

  std::mutex mutex_;
  std::uint32_t tail_ = 0;
  std::uint32_t head_seen_ = 0;
  std::vector<Handed> handed_;  // oldest first
  std::atomic<std::uint64_t> pushed_{0};
};

enum class WaitResult { kMessage, kTimeout, kPeerGone };

// The consuming end: one thread.
class RingConsumer {
 public:
  RingConsumer(std::byte* ring, std::uint32_t capacity);

  // A copy of the oldest message, or nothing. It stays in the ring, and what it names stays valid, until
  // Advance().
  std::optional<Slot> Peek();

  // Gives the oldest message back to the producer.
  void Advance() noexcept;

  // Looks for a message for some microseconds, then sleeps until there is one, the deadline has passed or
  // `peer_gone` is set and Wake() was called. Looks again by itself once a second: a hostile peer can move a
  // waiter to another futex.
  WaitResult Wait(Deadline deadline, const std::atomic<bool>& peer_gone) {
    return Look() ? WaitResult::kMessage : Sleep(deadline, peer_gone);
  }

  // The two halves of Wait(): true when a message came.
  [[nodiscard]] bool Look() const noexcept;
  WaitResult Sleep(Deadline deadline, const std::atomic<bool>& peer_gone);

  // Slots ever pushed, as the producer says; wraps. Any thread.
  [[nodiscard]] std::uint32_t tail() const noexcept {
    return control_.producer.tail.load(std::memory_order_acquire);
  }

  // Ends a Wait() of another thread of this process, so that it looks at `peer_gone`.
  void Wake() noexcept;

  // For a consumer that sleeps in epoll on the ring's eventfd: says that it is about to. False when a message
  // is there already, and then it must not sleep.
  bool PrepareToSleep();
  void Awake() noexcept;

 private:
  RingControl& control_;
  const Slot* const slots_;
  const std::uint32_t capacity_;
  std::uint32_t head_ = 0;
};

}  // namespace tpb::ipc
