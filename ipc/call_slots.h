// The two ends of the call slots: a thread of the stub that called another model sleeps on its slot, and the
// server answers there. No ring is involved, so an answer cannot be held up by another one.
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
// each call that names it: whoever calls this makes sure of that.
void PostAnswer(CallSlot& slot, std::uint64_t id, const Posted& posted) noexcept;

// Stub: its free slots, and the wait. Any thread.
class CallSlots {
 public:
  explicit CallSlots(std::span<CallSlot> slots);

  // A slot for one call, or nothing while all are in use.
  std::optional<std::uint32_t> Take();
  void GiveBack(std::uint32_t slot);

  // Sleeps until call `id` is answered. Looks for some microseconds first, and asks `gone` once a second:
  // nothing when that says true.
  std::optional<Posted> Await(std::uint32_t slot, std::uint64_t id, const std::function<bool()>& gone);

 private:
  const std::span<CallSlot> slots_;
  std::mutex mutex_;
  std::vector<std::uint32_t> free_;
};

}  // namespace tpb::ipc
