#include "stub/connection.h"

#include <pybind11/pybind11.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "ipc/error.h"
#include "ipc/socket.h"
#include "stub/hello.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;

constexpr std::chrono::microseconds kLookForRoom{200};

// Which connections are served, and by which thread. Read and written with the GIL held, so that a fork by
// Python never finds it half-written. One process may hold many instances, hence one per process.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
std::vector<std::shared_ptr<Connection>> served;
thread_local std::shared_ptr<Connection> served_here;
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

void Replace(const std::shared_ptr<Connection>& old, const std::shared_ptr<Connection>& fresh) {
  std::ranges::replace(served, old, fresh);
  if (served_here == old) {
    served_here = fresh;
  }
}

// In a forked child: `parent` is a copy of the parent's, whose socket the child has inherited.
std::shared_ptr<Connection> OpenForChild(const Connection& parent) {
  const py::gil_scoped_release no_gil;
  auto [own, servers] = ipc::SocketPair();
  SayHello(own.get());
  ipc::SendChild(parent.socket(), servers.get());
  servers.Reset();
  auto welcome = ipc::ReceiveServerHello(own.get(), TPB_VERSION);
  auto connection = std::make_shared<Connection>(std::move(own), std::move(welcome));
  connection->AllowCalls(parent.calls_allowed());
  return connection;
}

std::shared_ptr<Connection> Lookup() {
  if (served_here) {
    return served_here;
  }
  return served.size() == 1 ? served.front() : nullptr;
}

}  // namespace

Connection::Connection(ipc::UniqueFd socket, ipc::Welcome welcome)
    : socket_(std::move(socket)),
      channel_(ipc::StubChannel::Attach(std::move(welcome))),
      book_(std::make_shared<LeaseBook>(channel_)),
      call_slots_(channel_->calls()) {}

Connection::~Connection() {
  if (birthplace_.InForkedChild()) {
    Leak(channel_);  // its blocks and mutexes are the parent's
  }
}

bool Connection::Gone() const noexcept {
  return gone_.load(std::memory_order_acquire) || ipc::PeerClosed(socket_.get());
}

void Connection::MarkGone() noexcept {
  gone_.store(true, std::memory_order_release);
  channel_->work().Wake();
}

void Connection::PushEvent(const ipc::Slot& slot, std::vector<ipc::Block>& blocks) {
  book_->Flush();
  while (!channel_->events().TryPush(slot, blocks)) {
    if (Gone()) {
      throw ipc::Error(ipc::Code::kUnavailable, "the server is gone");
    }
    std::this_thread::sleep_for(kLookForRoom);
  }
}

std::shared_ptr<Connection> Connection::Current() {
  auto connection = Lookup();
  if (!connection || !connection->InForkedChild()) {
    return connection;
  }
  auto fresh = OpenForChild(*connection);
  // Another thread of the child may have been faster.
  if (auto now = Lookup(); now && !now->InForkedChild()) {
    return now;
  }
  Replace(connection, fresh);
  return fresh;
}

Connection::Serving::Serving(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {
  served.push_back(connection_);
  served_here = connection_;
}

Connection::Serving::~Serving() {
  std::erase(served, connection_);
  served_here.reset();
}

}  // namespace tpb::stub
