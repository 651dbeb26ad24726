#include "ipc/call_slots.h"

#include <sched.h>

#include <chrono>
#include <string>

#include "ipc/deadline.h"
#include "ipc/error.h"
#include "ipc/futex.h"

namespace tpb::ipc {
namespace {

constexpr std::chrono::seconds kLookAgain{1};
constexpr std::chrono::microseconds kLookFor{50};  // docs/decisions/0004

bool LookForAnswer(const CallSlot& slot) noexcept {
  const auto until = Deadline::Clock::now() + kLookFor;
  do {
    if (slot.answered.load(std::memory_order_acquire) != 0) {
      return true;
    }
    ::sched_yield();
  } while (Deadline::Clock::now() < until);
  return false;
}

}  // namespace

void PostAnswer(CallSlot& slot, std::uint64_t id, const Posted& posted) noexcept {
  slot.id = id;
  slot.lease = posted.lease;
  slot.offset = posted.offset;
  slot.size = posted.size;
  slot.no_room = posted.no_room ? 1 : 0;
  slot.wanted = posted.wanted;
  // Pairs with the acquire loads in Await and Peek: all of the above is written before.
  slot.answered.store(1, std::memory_order_release);
  // The caller stores `waiting`, fences and loads `answered`: one of the two sees the other.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (slot.waiting.load(std::memory_order_relaxed) != 0) {
    FutexWakeAll(slot.answered);
  }
}

bool IsTaken(const CallSlot& slot) noexcept { return slot.answered.load(std::memory_order_acquire) == 0; }

void SetMore(CallSlot& slot, bool more) noexcept {
  slot.more.store(more ? 1 : 0, std::memory_order_relaxed);
  // The stub stores `answered`, fences and loads `more`; the server stores `more`, fences and loads
  // `answered`: one of the two sees the other.
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void RingCompletions(CompletionLine& line) noexcept {
  line.answers.fetch_add(1, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (line.waiting.load(std::memory_order_relaxed) != 0) {
    FutexWakeAll(line.answers);
  }
}

CallSlots::CallSlots(std::span<CallSlot> slots) : slots_(slots) {
  free_.reserve(slots.size());
  for (auto index = static_cast<std::uint32_t>(slots.size()); index > 0; --index) {
    free_.push_back(index - 1);
  }
}

std::optional<std::uint32_t> CallSlots::Take() {
  const std::scoped_lock lock(mutex_);
  if (free_.empty()) {
    return std::nullopt;
  }
  const std::uint32_t index = free_.back();
  free_.pop_back();
  CallSlot& slot = slots_[index];
  slot.waiting.store(0, std::memory_order_relaxed);
  slot.more.store(0, std::memory_order_relaxed);
  // Reaches the server with the release store of the ring that carries the call.
  slot.answered.store(0, std::memory_order_relaxed);
  return index;
}

void CallSlots::GiveBack(std::uint32_t slot) {
  const std::scoped_lock lock(mutex_);
  free_.push_back(slot);
}

std::optional<Posted> CallSlots::Await(std::uint32_t index, std::uint64_t id,
                                       const std::function<bool()>& gone) {
  CallSlot& slot = slots_[index];
  if (!LookForAnswer(slot)) {
    slot.waiting.store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    while (slot.answered.load(std::memory_order_acquire) == 0) {
      if (gone()) {
        return std::nullopt;
      }
      FutexWait(slot.answered, 0, kLookAgain);
    }
  }
  return Peek(index, id);
}

std::optional<Posted> CallSlots::Peek(std::uint32_t index, std::uint64_t id) const {
  const CallSlot& slot = slots_[index];
  if (slot.answered.load(std::memory_order_acquire) == 0) {
    return std::nullopt;
  }
  if (slot.id != id) {
    throw ProtocolError("the answer to call " + std::to_string(slot.id) + " in the place of call " +
                        std::to_string(id));
  }
  return Posted{.lease = slot.lease,
                .offset = slot.offset,
                .size = slot.size,
                .no_room = slot.no_room != 0,
                .wanted = slot.wanted};
}

bool CallSlots::Advance(std::uint32_t index) noexcept {
  CallSlot& slot = slots_[index];
  slot.answered.store(0, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return slot.more.load(std::memory_order_relaxed) != 0;
}

void Completions::Await(const std::function<bool()>& gone) {
  line_.waiting.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  while (true) {
    const std::uint32_t answers = line_.answers.load(std::memory_order_acquire);
    if (answers != seen_ || gone()) {
      seen_ = answers;
      break;
    }
    FutexWait(line_.answers, answers, kLookAgain);
  }
  line_.waiting.store(0, std::memory_order_relaxed);
}

void Completions::Wake() noexcept {
  line_.answers.fetch_add(1, std::memory_order_release);
  FutexWakeAll(line_.answers);
}

}  // namespace tpb::ipc
