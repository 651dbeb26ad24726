// memcpy for payloads. What is much larger than a processor's share of the cache is copied around it: the
// lines that are written need not be read first, and the cache keeps what it holds. docs/decisions/0005 has
// the measurements.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tpb::ipc {

// As memcpy: the two do not overlap; both may be null when `size` is 0.
void Copy(void* to, const void* from, std::uint64_t size) noexcept;

// From this size on Copy goes around the cache; the largest number where it never does.
std::uint64_t StreamingThreshold() noexcept;

}  // namespace tpb::ipc
