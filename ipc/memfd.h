// A file in memory without a name in any file system.
#pragma once

#include <string>

#include "ipc/unique_fd.h"

namespace tpb::ipc {

// Empty, close-on-exec, not executable where the kernel can say so, and ready to be sealed. `name` shows in
// /proc and nowhere else.
UniqueFd OpenMemfd(const std::string& name);

}  // namespace tpb::ipc
