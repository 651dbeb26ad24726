#include "stub/connection.h"

#include <chrono>
#include <thread>
#include <utility>

#include "ipc/error.h"
#include "ipc/socket.h"
#include "stub/gil.h"
#include "stub/hello.h"

namespace tpb::stub {
namespace {

constexpr std::chrono::microseconds kLookForRoom{200};

// What calls to the server of one instance go through: in a forked child another connection than in its
// parent.
using Line = std::shared_ptr<Connection>;

// Which instances are served, and which of them by the calling thread. Read and written with the GIL held, so
// that a fork by Python never finds it half-written. One process may hold many instances, hence one per
// process.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
std::vector<std::shared_ptr<Line>> served;
thread_local std::shared_ptr<Line> served_here;
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

// In a forked child: `parent` is a copy of the parent's, whose socket the child has inherited.
std::shared_ptr<Connection> OpenForChild(const Connection& parent) {
  const GilReleased no_gil;
  auto [own, servers] = ipc::SocketPair();
  SayHello(own.get());
  ipc::SendChild(parent.socket(), servers.get());
  servers.Reset();
  auto welcome = ipc::ReceiveServerHello(own.get(), TPB_VERSION);
  return std::make_shared<Connection>(std::move(own), std::move(welcome), &parent);
}

std::shared_ptr<Line> Lookup() {
  if (served_here) {
    return served_here;
  }
  return served.size() == 1 ? served.front() : nullptr;
}

}  // namespace

Connection::Connection(ipc::UniqueFd socket, ipc::Welcome welcome, const Connection* parent)
    : socket_(std::move(socket)),
      channel_(ipc::StubChannel::Attach(std::move(welcome))),
      book_(std::make_shared<LeaseBook>(channel_)),
      call_slots_(channel_->calls()),
      cancellation_words_(channel_->cancellations()),
      completions_(channel_->completions()),
      calls_allowed_(parent != nullptr ? parent->calls_allowed_ : std::make_shared<SharedFlag>()),
      control_allowed_(parent != nullptr ? parent->control_allowed_ : std::make_shared<SharedFlag>()) {
  if (parent != nullptr) {
    of_child_ = true;
    book_->SetLabel(parent->book_->label());
    model_dir_ = parent->model_dir_;
  }
}

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
  const auto line = Lookup();
  if (!line) {
    return nullptr;
  }
  // A copy, because another thread may replace it meanwhile.
  // NOLINTNEXTLINE(performance-unnecessary-copy-initialization)
  if (const auto parents = *line; parents->InForkedChild()) {
    auto fresh = OpenForChild(*parents);
    if (*line == parents) {  // no other thread of the child was faster
      *line = std::move(fresh);
    }
  }
  return *line;
}

bool Connection::IsServingHere() noexcept {
  return served_here && !(*served_here)->of_child_ && !(*served_here)->InForkedChild();
}

std::shared_ptr<Connection> Connection::Inherited() {
  const auto line = Lookup();
  return line ? *line : nullptr;
}

Connection::Serving::Serving(std::shared_ptr<Connection> connection) {
  served_here = served.emplace_back(std::make_shared<Line>(std::move(connection)));
}

Connection::Serving::~Serving() {
  std::erase(served, served_here);
  served_here.reset();
}

}  // namespace tpb::stub
