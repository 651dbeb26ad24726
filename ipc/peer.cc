#include "ipc/peer.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <chrono>
#include <thread>

namespace tpb::ipc {
namespace {

// poll() fails while it waits for more descriptors than the process may open (RLIMIT_NOFILE), which somebody
// may lower and raise at any time.
constexpr std::chrono::milliseconds kPauseWithoutPoll{10};

}  // namespace

UniqueFd OpenPidfd(pid_t pid) { return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

UniqueFd OpenPidfdOfPeer(int socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  // A process of another pid namespace has the number 0.
  const bool known = ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0;
  return known ? OpenPidfd(peer.pid) : UniqueFd();
}

int WaitReadable(const int* descriptors, int count, Deadline deadline) noexcept {
  std::array<pollfd, kMostToWaitFor> waits{};
  assert(count >= 0 && static_cast<std::size_t>(count) <= waits.size());
  std::transform(descriptors, descriptors + count, waits.begin(),
                 [](int fd) { return pollfd{.fd = fd, .events = POLLIN, .revents = 0}; });
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline.Left(std::chrono::minutes(1)));
    const int ready = ::poll(waits.data(), static_cast<nfds_t>(count), static_cast<int>(left.count()));
    if (ready > 0) {
      const auto first = std::ranges::find_if(waits, [](const pollfd& wait) { return wait.revents != 0; });
      return static_cast<int>(first - waits.begin());
    }
    if (deadline.Passed()) {
      return -1;
    }
    if (ready < 0 && errno != EINTR) {
      std::this_thread::sleep_for(kPauseWithoutPoll);
    }
  }
}

}  // namespace tpb::ipc
