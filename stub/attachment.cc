#include "stub/attachment.h"

#include <sys/prctl.h>

#include <csignal>
#include <tuple>
#include <utility>

#include "ipc/error.h"
#include "ipc/handshake.h"
#include "stub/gil.h"
#include "stub/heap.h"
#include "stub/hello.h"
#include "stub/logger.h"
#include "stub/loop.h"
#include "stub/signals.h"

namespace tpb::stub {

namespace py = pybind11;

std::unique_ptr<Attachment> Attachment::Connect(int fd, bool owned) {
  const GilReleased no_gil;
  ipc::UniqueFd socket(fd);
  try {
    SayHello(socket.get());
    auto welcome = ipc::ReceiveServerHello(socket.get(), TPB_VERSION);
    return std::unique_ptr<Attachment>(new Attachment(std::move(socket), std::move(welcome), owned));
  } catch (const std::exception& error) {
    ipc::SendFailure(socket.get(), error.what());
    throw;
  }
}

Attachment::Attachment(ipc::UniqueFd socket, ipc::Welcome welcome, bool owned) {
  ipc::UniqueFd server = std::move(welcome.server_pidfd);
  connection_ = std::make_shared<Connection>(std::move(socket), std::move(welcome));
  if (owned) {
    if (connection_->channel().memory_rules().keep_heap != 0) {
      KeepHeap();
    }
    IgnoreStopSignals();
    const bool has_pidfd = server.valid();
    watcher_ = std::make_unique<Watcher>(connection_->socket(), std::move(server), EndProcessGroup);
    if (has_pidfd) {
      // The launcher asked the kernel to kill this process with the server. From here on that would be too
      // little, and too early: the watcher kills the model's own processes as well. It must not be stopped.
      ::prctl(PR_SET_PDEATHSIG, SIGCONT);
    }
  } else {
    watcher_ = std::make_unique<Watcher>(connection_->socket(), std::move(server),
                                         [this] { connection_->MarkGone(); });
  }
}

Attachment::~Attachment() {
  if (birthplace_.InForkedChild()) {
    std::ignore = watcher_.release();  // the thread exists in the parent only
  }
}

void Attachment::Serve(py::object loader) {
  if (std::exchange(used_, true)) {
    throw ipc::Error(ipc::Code::kInternal, "this attachment was used before");
  }
  const Connection::Serving serving(connection_);
  Loop loop(connection_, [this] { watcher_->Stop(); }, std::move(loader));
  UseForLog(connection_->shared_channel());
  try {
    loop.Run();
  } catch (const std::exception& error) {
    if (!birthplace_.InForkedChild()) {
      ipc::SendFailure(connection_->socket(), error.what());
    }
    throw;
  }
}

void Attachment::Fail(std::string_view text) noexcept {
  used_ = true;
  watcher_->Stop();
  ipc::SendFailure(connection_->socket(), text);
}

}  // namespace tpb::stub
