// One connection of this process to a server, for one model instance. A process may have several.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "ipc/channel.h"
#include "ipc/unique_fd.h"
#include "stub/fork.h"
#include "stub/lease.h"
#include "stub/watcher.h"

namespace tpb::stub {

class Attachment {
 public:
  // Says hello on `fd`, which belongs to the attachment from here on, and waits for the server's answer;
  // without the GIL. `owned`: the server started this process, which ignores SIGINT and SIGTERM and ends with
  // the server.
  static std::unique_ptr<Attachment> Connect(int fd, bool owned);

  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;
  Attachment(Attachment&&) = delete;
  Attachment& operator=(Attachment&&) = delete;
  ~Attachment();

  // Loads the model and answers requests, on this thread, until the server has it finalized; once.
  void Serve(pybind11::object loader);

  // Instead of serving: tells the server why not.
  void Fail(std::string_view text) noexcept;

 private:
  Attachment(ipc::UniqueFd socket, ipc::Welcome welcome, bool owned);

  const Birthplace birthplace_;
  std::atomic<bool> peer_gone_{false};
  ipc::UniqueFd socket_;
  std::shared_ptr<ipc::StubChannel> channel_;  // shared with the book
  std::shared_ptr<LeaseBook> book_;            // shared with the leases
  std::unique_ptr<Watcher> watcher_;           // uses all of the above
  bool used_ = false;
};

}  // namespace tpb::stub
