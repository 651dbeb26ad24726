// The two ends of the call slots: the server answers there what the stub asked in a call. No ring is
// involved, so an answer cannot be held up by another one.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "ipc/wire.h"

namespace tpb::ipc {

// Where an answer lies, or that there was no room for one.
struct Posted {
  std::uint64_t lease = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  bool no_room = false;
  std::uint64_t wanted = 0;  // bytes, when there was no room
};

// Server: answers the call `id`, which waits in `slot`; any thread, never waits. A slot is answered once for
// each call that names it, and once more each time that the stub has taken an answer: whoever calls this
// makes sure of that.
void PostAnswer(CallSlot& slot, std::uint64_t id, const Posted& posted) noexcept;

// Server: the stub has taken the last answer, so another one can be posted.
bool IsTaken(const CallSlot& slot) noexcept;

// Server: whether a further answer waits until this one is taken. A stub that takes one either leaves the
// slot to be seen as taken by whoever says this, or tells with an event: ask IsTaken afterwards.
void SetMore(CallSlot& slot, bool more) noexcept;

// Server: wakes who waits for an answer to any of several calls.
void RingCompletions(CompletionLine& line) noexcept;

// Stub: its free slots, and the wait. Any thread.
class CallSlots {
 public:
  explicit CallSlots(std::span<CallSlot> slots);

  // A slot for one call, or nothing while all are in use.
  std::optional<std::uint32_t> Take();
  void GiveBack(std::uint32_t slot);

  // Sleeps until call `id` is answered. Looks for some microseconds first, and asks `gone` once a second:
  // nothing when that says true. Throws as Peek does.
  std::optional<Posted> Await(std::uint32_t slot, std::uint64_t id, const std::function<bool()>& gone);

  // The answer to call `id`, if there is one. Throws ProtocolError for one to another call.
  std::optional<Posted> Peek(std::uint32_t slot, std::uint64_t id) const;

  // Lets the server post the next answer of the same call; true when it has to be told by an event.
  bool Advance(std::uint32_t slot) noexcept;

 private:
  const std::span<CallSlot> slots_;
  std::mutex mutex_;
  std::vector<std::uint32_t> free_;
};

// Stub: one thread that waits for answers to all calls that nobody else waits for.
class Completions {
 public:
  explicit Completions(CompletionLine& line) : line_(line) {}

  // Sleeps until something was answered since the last call, or Wake(); asks `gone` once a second, and
  // returns when that is true.
  void Await(const std::function<bool()>& gone);

  // Any thread of this process.
  void Wake() noexcept;

 private:
  CompletionLine& line_;
  std::uint32_t seen_ = 0;
};

}  // namespace tpb::ipc
