#include "ipc/error.h"

#include <system_error>

namespace tpb::ipc {

Code CodeFromWire(std::uint32_t value) noexcept {
  return value <= static_cast<std::uint32_t>(Code::kCancelled) ? static_cast<Code>(value) : Code::kInternal;
}

void ThrowErrno(const std::string& what, int error_number) {
  throw Error(Code::kInternal, what + ": " + std::generic_category().message(error_number));
}

}  // namespace tpb::ipc
