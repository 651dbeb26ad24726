#include "backend/poller.h"

#include <sys/epoll.h>

#include <cerrno>
#include <utility>

#include "ipc/error.h"

namespace tpb::backend {

Poller::Poller() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_.valid()) {
    ipc::ThrowErrno("Unable to watch a stub process", errno);
  }
}

void Poller::Add(int fd, Handler handler) { Add(fd, EPOLLIN, std::move(handler)); }

// Each write to an eventfd is an edge, whatever it holds by then.
void Poller::AddDoorbell(int fd, Handler handler) { Add(fd, EPOLLIN | EPOLLET, std::move(handler)); }

void Poller::Add(int fd, std::uint32_t events, Handler handler) {
  if (fd < 0) {
    return;
  }
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    ipc::ThrowErrno("Unable to watch a stub process", errno);
  }
  handlers_[fd] = std::make_shared<Handler>(std::move(handler));
}

void Poller::Remove(int fd) noexcept {
  if (handlers_.erase(fd) != 0) {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  }
}

bool Poller::Wait(int timeout_ms) {
  epoll_event event{};
  if (::epoll_wait(epoll_.get(), &event, 1, timeout_ms) <= 0) {
    return false;
  }
  const auto found = handlers_.find(event.data.fd);
  if (found != handlers_.end()) {
    const std::shared_ptr<Handler> handler = found->second;
    (*handler)();
  }
  return true;
}

}  // namespace tpb::backend
