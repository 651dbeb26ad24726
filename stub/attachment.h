// One model instance in this process: its connection to the server, the thread that watches the server, and
// the loop that serves. A process may have several.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string_view>

#include "ipc/handshake.h"
#include "ipc/unique_fd.h"
#include "stub/connection.h"
#include "stub/fork.h"
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
  std::shared_ptr<Connection> connection_;  // shared with calls in flight
  std::unique_ptr<Watcher> watcher_;        // uses all of the above
  bool used_ = false;
};

}  // namespace tpb::stub
