// Sleeps on many descriptors and calls the handler of one that is readable. One thread.
#pragma once

#include <cstdint>
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

  // For an eventfd that another process rings: the handler is called once after it was rung, and nobody reads
  // it. The other process could have read it first and made it block, and then so would who reads it.
  void AddDoorbell(int fd, Handler handler);

  // A handler may remove its own descriptor, or another one.
  void Remove(int fd) noexcept;

  // Calls the handler of one readable descriptor; false when none was within the time (-1: for ever).
  bool Wait(int timeout_ms);

 private:
  void Add(int fd, std::uint32_t events, Handler handler);

  const ipc::UniqueFd epoll_;
  std::map<int, std::shared_ptr<Handler>> handlers_;  // shared with a Wait() that is calling one
};

}  // namespace tpb::backend
