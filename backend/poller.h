// Sleeps on many descriptors and calls the handler of one that is readable. One thread.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "ipc/unique_fd.h"

namespace tpb::backend {

class Poller {
 public:
  using Handler = std::function<void()>;

  Poller();

  // `fd` stays the caller's, who removes it before closing it. A negative one is ignored.
  void Add(int fd, Handler handler);

  // A handler may remove its own descriptor, or another one.
  void Remove(int fd) noexcept;

  // Calls the handler of one readable descriptor; false when none was within the time (-1: for ever).
  bool Wait(int timeout_ms);

 private:
  const ipc::UniqueFd epoll_;
  std::map<int, std::shared_ptr<Handler>> handlers_;  // shared with a Wait() that is calling one
};

}  // namespace tpb::backend
