#include "stub/attachment.h"

#include <sys/prctl.h>

#include <csignal>
#include <tuple>
#include <utility>

#include "ipc/error.h"
#include "ipc/handshake.h"
#include "stub/logger.h"
#include "stub/loop.h"
#include "stub/signals.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;

std::string PythonVersion() {
  const std::string_view full = Py_GetVersion();  // "3.11.7 (main, …) [GCC …]"
  return std::string(full.substr(0, full.find(' ')));
}

}  // namespace

std::unique_ptr<Attachment> Attachment::Connect(int fd, bool owned) {
  const std::string python = PythonVersion();
  const py::gil_scoped_release no_gil;
  ipc::UniqueFd socket(fd);
  try {
    ipc::SendStubHello(socket.get(), {.package = TPB_VERSION, .python = python});
    auto welcome = ipc::ReceiveServerHello(socket.get(), TPB_VERSION);
    return std::unique_ptr<Attachment>(new Attachment(std::move(socket), std::move(welcome), owned));
  } catch (const std::exception& error) {
    ipc::SendFailure(socket.get(), error.what());
    throw;
  }
}

Attachment::Attachment(ipc::UniqueFd socket, ipc::Welcome welcome, bool owned) {
  ipc::UniqueFd server = std::move(welcome.server_pidfd);
  channel_ = ipc::StubChannel::Attach(std::move(welcome));
  book_ = std::make_shared<LeaseBook>(channel_);
  auto gone = [this] {
    peer_gone_.store(true, std::memory_order_release);
    channel_->work().Wake();
  };
  if (owned) {
    IgnoreStopSignals();
    const bool has_pidfd = server.valid();
    watcher_ = std::make_unique<Watcher>(socket.get(), std::move(server), EndProcessGroup);
    if (has_pidfd) {
      // The launcher asked the kernel to kill this process with the server. From here on that would be too
      // little, and too early: the watcher kills the model's own processes as well. It must not be stopped.
      ::prctl(PR_SET_PDEATHSIG, SIGCONT);
    }
  } else {
    watcher_ = std::make_unique<Watcher>(socket.get(), std::move(server), gone);
  }
  socket_ = std::move(socket);
}

Attachment::~Attachment() {
  if (birthplace_.InForkedChild()) {
    // The thread exists in the parent only, and the channel's blocks and mutexes are the parent's.
    std::ignore = watcher_.release();
    Leak(channel_);
  }
}

void Attachment::Serve(py::object loader) {
  if (std::exchange(used_, true)) {
    throw ipc::Error(ipc::Code::kInternal, "this attachment was used before");
  }
  UseForLog(channel_);
  Loop loop({.channel = *channel_,
             .book = book_,
             .peer_gone = peer_gone_,
             .before_end = [this] { watcher_->Stop(); }},
            std::move(loader));
  try {
    loop.Run();
  } catch (const std::exception& error) {
    if (!birthplace_.InForkedChild()) {
      ipc::SendFailure(socket_.get(), error.what());
    }
    throw;
  }
}

void Attachment::Fail(std::string_view text) noexcept {
  used_ = true;
  watcher_->Stop();
  ipc::SendFailure(socket_.get(), text);
}

}  // namespace tpb::stub
