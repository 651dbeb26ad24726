#include "ipc/peer.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <vector>

#include "ipc/error.h"

namespace tpb::ipc {

UniqueFd OpenPidfd(pid_t pid) { return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

int WaitReadable(const int* descriptors, int count, Deadline deadline) {
  std::vector<pollfd> waits;
  for (int i = 0; i < count; ++i) {
    waits.push_back({.fd = descriptors[i], .events = POLLIN, .revents = 0});
  }
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline.Left(std::chrono::minutes(1)));
    const int ready = ::poll(waits.data(), waits.size(), static_cast<int>(left.count()));
    if (ready < 0 && errno != EINTR) {
      ThrowErrno("Unable to wait for a process", errno);
    }
    for (int i = 0; ready > 0 && i < count; ++i) {
      if (waits[static_cast<std::size_t>(i)].revents != 0) {
        return i;
      }
    }
    if (ready == 0 && deadline.Passed()) {
      return -1;
    }
  }
}

}  // namespace tpb::ipc
