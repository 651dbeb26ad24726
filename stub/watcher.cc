#include "stub/watcher.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "ipc/error.h"

namespace tpb::stub {
namespace {

// Threads started while this lives take no signals: those are for the threads that Python knows.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  SignalsBlocked(SignalsBlocked&&) = delete;
  SignalsBlocked& operator=(SignalsBlocked&&) = delete;
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

int NewEventfd() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) {
    ipc::ThrowErrno("Unable to create an eventfd", errno);
  }
  return fd;
}

}  // namespace

Watcher::Watcher(int socket, ipc::UniqueFd server_pidfd, std::function<void()> gone)
    : socket_(socket), server_pidfd_(std::move(server_pidfd)), stop_(NewEventfd()), gone_(std::move(gone)) {
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { Watch(); });
  ::pthread_setname_np(thread_.native_handle(), "server-watcher");
}

void Watcher::Stop() noexcept {
  if (thread_.joinable()) {
    ::eventfd_write(stop_.get(), 1);
    thread_.join();
  }
}

void Watcher::Watch() const noexcept {
  // The socket's other end may be held open by a child of the server, the pidfd may be missing: either will
  // do. What the server might say on the socket is nobody's business here, hence no POLLIN.
  std::array<pollfd, 3> waits{{{.fd = stop_.get(), .events = POLLIN, .revents = 0},
                               {.fd = server_pidfd_.get(), .events = POLLIN, .revents = 0},
                               {.fd = socket_, .events = POLLRDHUP, .revents = 0}}};
  while (true) {
    if (::poll(waits.data(), waits.size(), -1) < 0) {
      continue;
    }
    if (waits[0].revents != 0) {
      return;
    }
    if (waits[1].revents != 0 || waits[2].revents != 0) {
      gone_();
      return;
    }
  }
}

void EndProcessGroup() noexcept {
  if (::getpgrp() == ::getpid()) {
    ::kill(0, SIGKILL);
  }
  ::_exit(1);
}

}  // namespace tpb::stub
