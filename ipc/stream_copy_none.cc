#include <cstring>

#include "ipc/stream_copy.h"

namespace tpb::ipc {

const bool kCanStream = false;

void StreamCopy(std::byte* to, const std::byte* from, std::uint64_t size) noexcept {
  std::memcpy(to, from, size);
}

}  // namespace tpb::ipc
