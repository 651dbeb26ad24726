#include <emmintrin.h>

#include <algorithm>
#include <cstring>

#include "ipc/stream_copy.h"

namespace tpb::ipc {
namespace {

constexpr std::uint64_t kLine = 64;

}  // namespace

const bool kCanStream = true;

// SSE2, which every x86-64 has: wider registers made no difference, memory is what is slow.
void StreamCopy(std::byte* to, const std::byte* from, std::uint64_t size) noexcept {
  if (size == 0) {
    return;  // either pointer may be null
  }
  const std::uint64_t past_line = reinterpret_cast<std::uintptr_t>(to) % kLine;
  const std::uint64_t head = std::min(size, (kLine - past_line) % kLine);
  std::memcpy(to, from, head);
  to += head;
  from += head;
  size -= head;
  for (; size >= kLine; size -= kLine, to += kLine, from += kLine) {
    const auto* source = reinterpret_cast<const __m128i*>(from);
    auto* target = reinterpret_cast<__m128i*>(to);
    const __m128i first = _mm_loadu_si128(source);
    const __m128i second = _mm_loadu_si128(source + 1);
    const __m128i third = _mm_loadu_si128(source + 2);
    const __m128i fourth = _mm_loadu_si128(source + 3);
    _mm_stream_si128(target, first);
    _mm_stream_si128(target + 1, second);
    _mm_stream_si128(target + 2, third);
    _mm_stream_si128(target + 3, fourth);
  }
  std::memcpy(to, from, size);
  // Streaming stores are ordered with nothing that follows, not even with the index that hands the bytes
  // over.
  _mm_sfence();
}

}  // namespace tpb::ipc
