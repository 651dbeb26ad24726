// Starts a thread of ours inside somebody else's process.
#pragma once

#include <functional>
#include <thread>

namespace tpb::backend {

// The thread blocks all signals, so that the host's handlers never run on it. `name` shows in ps and gdb, 15
// characters.
std::thread StartThread(const char* name, std::function<void()> body);

}  // namespace tpb::backend
