// The other process: a descriptor that becomes readable when it ends.
#pragma once

#include <sys/types.h>

#include "ipc/deadline.h"
#include "ipc/unique_fd.h"

namespace tpb::ipc {

// A pidfd of `pid`, or an invalid one where the kernel or a seccomp profile has none.
UniqueFd OpenPidfd(pid_t pid);

// A pidfd of the process that made the pair which `socket` is an end of, or an invalid one.
UniqueFd OpenPidfdOfPeer(int socket);

constexpr int kMostToWaitFor = 8;

// Sleeps until one of the descriptors (kMostToWaitFor at most) is readable, hung up, or the deadline passes.
// Returns the index of the first that is ready, or -1. Invalid descriptors (-1) are ignored.
int WaitReadable(const int* descriptors, int count, Deadline deadline) noexcept;

}  // namespace tpb::ipc
