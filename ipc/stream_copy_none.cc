#include <cstring>

#include "ipc/stream_copy.h"

namespace tpb::ipc {

const bool kCanStream = false;

void StreamCopy(std::byte* to, const std::byte* from, std::uint64_t size) noexcept {
  if (size == 0) {
    return;  // either pointer may be null
  }
  std::memcpy(to, from, size);
}

}  // namespace tpb::ipc
