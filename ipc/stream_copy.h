// A copy whose stores go around the cache. One of two files is compiled: stream_copy_x86.cc, or
// stream_copy_none.cc where there is no such thing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tpb::ipc {

extern const bool kCanStream;

void StreamCopy(std::byte* to, const std::byte* from, std::uint64_t size) noexcept;

}  // namespace tpb::ipc
