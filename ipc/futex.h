// Sleeping on a 32-bit word in shared memory, and waking whoever sleeps there. Shared futexes, never private
// ones: the two sides map the same page at different addresses.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace tpb::ipc {

// Sleeps while `word` holds `expected`, for at most `timeout`. May return early for no reason.
void FutexWait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
               std::chrono::nanoseconds timeout) noexcept;

void FutexWakeAll(std::atomic<std::uint32_t>& word) noexcept;

}  // namespace tpb::ipc
