// A thread that sleeps until the server is gone. It needs neither the GIL nor any lock, so a model that hangs
// in C code cannot outlive its server.
#pragma once

#include <functional>
#include <thread>

#include "ipc/unique_fd.h"

namespace tpb::stub {

class Watcher {
 public:
  // `socket` outlives this object; `server_pidfd` may be invalid. `gone` is called at most once, on the
  // thread.
  Watcher(int socket, ipc::UniqueFd server_pidfd, std::function<void()> gone);
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  Watcher(Watcher&&) = delete;
  Watcher& operator=(Watcher&&) = delete;
  ~Watcher() { Stop(); }

  // Afterwards `gone` is not called any more.
  void Stop() noexcept;

 private:
  void Watch() const noexcept;

  const int socket_;
  const ipc::UniqueFd server_pidfd_;
  const ipc::UniqueFd stop_;  // an eventfd
  const std::function<void()> gone_;
  std::thread thread_;
};

// Ends this process and, when it leads its process group, whatever else is in it.
[[noreturn]] void EndProcessGroup() noexcept;

}  // namespace tpb::stub
