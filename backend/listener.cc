#include "backend/listener.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "backend/supervisor/thread.h"
#include "ipc/error.h"
#include "ipc/handshake.h"
#include "ipc/peer.h"
#include "ipc/socket.h"

namespace tpb::backend {
namespace {

constexpr std::size_t kMaxSocketMessage = 16384;
constexpr int kEventsAtOnce = 1024;
constexpr int kLookForCancelledMs = 5;
constexpr int kLookAgainMs = 1000;  // without a pidfd, the end of a process is looked for this often
// Each has a channel of its own: address space, not memory.
constexpr std::size_t kMaxChildren = 64;

int NewEventfd() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) {
    ipc::ThrowErrno("Unable to create an eventfd for a stub process", errno);
  }
  return fd;
}

}  // namespace

Listener::Listener(Options options, const Stub& stub, std::shared_ptr<Conversation> conversation)
    : options_(std::move(options)),
      stub_(stub),
      conversation_(std::move(conversation)),
      stop_(NewEventfd()) {}

void Listener::Start() {
  thread_ = StartThread("tpb-service", [this] { Run(); });
}

void Listener::Stop() noexcept {
  ::eventfd_write(stop_.get(), 1);
  if (thread_.joinable()) {
    thread_.join();
  }
}

void Listener::Run() noexcept {
  try {
    Listen();
  } catch (const std::exception& error) {
    Salvage();
    options_.condemn(error.what());
  }
  conversation_->Close(stopped_ ? std::string() : options_.epitaph());
  while (!children_.empty()) {
    Dismiss(children_.begin()->first);
  }
  if (!stopped_) {
    stub_.output.Finish();
  }
}

void Listener::WatchStub() {
  poller_.Add(stub_.process.pidfd(), [this] { process_ended_ = true; });
  poller_.Add(stub_.socket, [this] { ReadStubSocket(); });
  poller_.AddDoorbell(conversation_->channel().eventfd(), [this] { stub_.memory.Touch(); });
  poller_.Add(stub_.memory.timerfd(), [this] {
    stub_.memory.Look();
    LookForLeaving();
  });
  poller_.Add(stop_.get(), [this] { stopped_ = true; });
  WatchOutput(StubOutput::kStdout);
  WatchOutput(StubOutput::kStderr);
}

void Listener::WatchOutput(StubOutput::Stream stream) {
  const int fd = stub_.output.descriptor(stream);
  poller_.Add(fd, [this, fd, stream] {
    if (stub_.output.Read(stream) == StubOutput::Got::kEnd) {
      poller_.Remove(fd);
    }
  });
}

// How long to sleep when nothing happens; -1 for ever.
int Listener::Patience() const {
  int patience = stub_.output.FlushInMs();
  const auto at_most = [&patience](int limit) {
    patience = patience < 0 ? limit : std::min(patience, limit);
  };
  if (stub_.process.pidfd() < 0) {
    at_most(kLookAgainMs);
  }
  if (conversation_->MayBeCancelled()) {
    at_most(kLookForCancelledMs);
  }
  return patience;
}

void Listener::LookForCancelled() noexcept {
  const auto now = ipc::Deadline::Clock::now();
  if (now - looked_for_cancelled_ >= std::chrono::milliseconds(kLookForCancelledMs)) {
    looked_for_cancelled_ = now;
    conversation_->LookForCancelled();
  }
}

// Core unloads a model only after its last answer, and tells nobody that it wants to. Once a second, while a
// request is with the stub.
void Listener::LookForLeaving() {
  const std::size_t requests = conversation_->responders().InFlight();
  if (requests == 0 || !options_.leaving) {
    return;
  }
  stub_.memory.Touch();  // comes back in a second
  if (!options_.leaving()) {
    return;
  }
  const std::string limit = std::to_string(options_.leaving_timeout.count()) +
                            " s (--backend-config=python,unload-timeout-seconds)";
  if (!leaving_until_) {
    leaving_until_ = ipc::Deadline::After(options_.leaving_timeout);
    options_.complain("'" + stub_.output.label() + "' is to be unloaded and works on " +
                      std::to_string(requests) + " requests: they are cancelled, and ended in " + limit);
    conversation_->CancelAll();
    for (const auto& [socket, child] : children_) {
      child.conversation->CancelAll();
    }
  } else if (leaving_until_->Passed()) {
    options_.end_stuck("its model is being unloaded, and " + std::to_string(requests) +
                       " requests did not end within " + limit);
  }
}

void Listener::Listen() {
  WatchStub();
  while (!process_ended_) {
    const bool more = HandleEvents();
    const bool handled = poller_.Wait(more ? 0 : Patience());
    stub_.output.FlushQuiet();
    LookForCancelled();
    conversation_->channel().events().Awake();
    for (const auto& [socket, child] : children_) {
      child.conversation->channel().events().Awake();
    }
    if (stopped_) {
      ReadRest();
      return;
    }
    if (!handled && !more && stub_.process.Ended()) {
      break;
    }
  }
  NoteEnd();
}

// What the stub has sent and printed until now.
void Listener::ReadRest() {
  const std::uint32_t capacity = conversation_->channel().layout().events.capacity;
  conversation_->HandleEvents(static_cast<int>(capacity));
  stub_.output.ReadRest();
}

// As much of it as can be had, after something has gone wrong.
void Listener::Salvage() noexcept {
  try {
    ReadRest();
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // What went wrong already is about to be told.
  }
}

void Listener::NoteEnd() {
  ReadRest();
  ReadLastWords();
  if (!stub_.ending.exchange(true)) {
    options_.complain("the stub process of '" + stub_.output.label() + "' (pid " +
                      std::to_string(stub_.process.pid()) + ") " + stub_.process.DescribeEnd());
  }
  stub_.process.KillGroup();  // workers that the model has started
  options_.gone();
}

// True when there may be more: one that floods its ring does not keep the thread from looking at the rest.
bool Listener::HandleEvents() {
  bool more =
      conversation_->HandleEvents(kEventsAtOnce) || !conversation_->channel().events().PrepareToSleep();
  for (auto next = children_.begin(); next != children_.end();) {
    const auto& [socket, child] = *next++;  // a child may be dismissed
    try {
      more |= child.conversation->HandleEvents(kEventsAtOnce) ||
              !child.conversation->channel().events().PrepareToSleep();
    } catch (const ipc::Error& error) {
      options_.complain("a forked child of the stub process of '" + stub_.output.label() +
                        "' is not listened to any more: " + error.message());
      Dismiss(socket);
    }
  }
  return more;
}

// After the handshake the stub uses the socket to say why it cannot go on, to pass on a forked child's, or to
// close it.
void Listener::ReadStubSocket() {
  bool closed = false;
  TakeMessage(stub_.socket, closed);
  if (closed && stub_.ending) {
    poller_.Remove(stub_.socket);  // it may still be busy leaving
  } else if (closed) {
    const int pidfd = stub_.process.pidfd();
    ipc::WaitReadable(&pidfd, 1, ipc::Deadline::After(std::chrono::seconds(1)));
    if (!stub_.process.Ended()) {
      throw ipc::Error(ipc::Code::kUnavailable, "it closed its connection and is running");
    }
    process_ended_ = true;
  }
}

void Listener::ReadChildSocket(int socket) {
  bool closed = true;
  try {
    TakeMessage(socket, closed);
  } catch (const ipc::Error& error) {
    options_.complain("a forked child of the stub process of '" + stub_.output.label() +
                      "': " + error.message());
  }
  if (closed) {
    Dismiss(socket);
  }
}

void Listener::TakeMessage(int socket, bool& closed) {
  auto received = ipc::ReceiveMessage(socket, kMaxSocketMessage, 1, ipc::Patience::kNone);
  closed = received.bytes.empty();
  if (closed) {
    return;
  }
  const std::string_view text(reinterpret_cast<const char*>(received.bytes.data()), received.bytes.size());
  if (received.descriptors_lost) {
    options_.complain("a forked child of the stub process of '" + stub_.output.label() +
                      "' gets no channel: the server may not open more files (ulimit -n)");
  } else if (ipc::IsChild(text) && received.descriptors.size() == 1) {
    Admit(std::move(received.descriptors[0]));
  } else if (const std::string failure = ipc::FailureText(text); !failure.empty()) {
    KeepFailure(failure);
  } else {
    throw ipc::ProtocolError("the stub process sent an unknown message on its socket");
  }
}

// A forked child of the model wants to talk to the server: it gets a channel of its own.
void Listener::Admit(ipc::UniqueFd socket) {
  const int fd = socket.get();
  try {
    // First of all: what is left unread when a socket closes takes the answer with it.
    ipc::ReceiveStubHello(fd, options_.package_version, ipc::Patience::kNone);
    MakeRoom();
    auto conversation = Conversation::Create(options_.channel);
    const ipc::UniqueFd own_pidfd = ipc::OpenPidfd(::getpid());
    ipc::SendServerHello(fd, options_.package_version, conversation->channel().layout(),
                         conversation->channel().memfd(), conversation->channel().eventfd(), own_pidfd.get());
    const auto [child, added] = children_.emplace(fd, Child{.socket = std::move(socket),
                                                            .pidfd = ipc::OpenPidfdOfPeer(fd),
                                                            .conversation = std::move(conversation)});
    WatchChild(fd, child->second);
  } catch (const ipc::Error& error) {
    ipc::SendFailure(fd, error.message());
    Dismiss(fd);
    ipc::Drain(socket.get());
    options_.complain("a forked child of the stub process of '" + stub_.output.label() +
                      "' gets no channel: " + error.message());
  }
}

// Its socket tells of its end unless a child of its own has inherited it.
void Listener::WatchChild(int socket, const Child& child) {
  poller_.Add(socket, [this, socket] { ReadChildSocket(socket); });
  poller_.Add(child.pidfd.get(), [this, socket] { Dismiss(socket); });
  poller_.AddDoorbell(child.conversation->channel().eventfd(), [] {});
}

// Some may have ended without their sockets having had their turn.
void Listener::MakeRoom() {
  for (auto next = children_.begin(); children_.size() >= kMaxChildren && next != children_.end();) {
    const int socket = (next++)->first;
    if (ipc::PeerClosed(socket)) {
      Dismiss(socket);
    }
  }
  if (children_.size() >= kMaxChildren) {
    throw ipc::Error(ipc::Code::kUnavailable,
                     std::to_string(kMaxChildren) +
                         " forked children of this model already talk to the server, "
                         "which is as many as may");
  }
}

void Listener::Dismiss(int socket) noexcept {
  const auto child = children_.extract(socket);
  poller_.Remove(socket);
  if (!child.empty()) {
    ipc::Drain(socket);
    poller_.Remove(child.mapped().pidfd.get());
    poller_.Remove(child.mapped().conversation->channel().eventfd());
    child.mapped().conversation->Close();
  }
}

// A process that has ended may have left a message behind.
void Listener::ReadLastWords() noexcept {
  try {
    bool closed = ipc::PeerClosed(stub_.socket);
    while (!closed &&
           ipc::WaitReadable(&stub_.socket, 1, ipc::Deadline::After(std::chrono::seconds(0))) == 0) {
      TakeMessage(stub_.socket, closed);
    }
  } catch (const std::exception& error) {
    options_.complain("the last message of the stub process of '" + stub_.output.label() +
                      "': " + error.what());
  }
}

void Listener::KeepFailure(const std::string& failure) {
  options_.complain("stub process of '" + stub_.output.label() + "': " + failure);
  const std::scoped_lock lock(failure_mutex_);
  failure_ = failure;
}

std::string Listener::failure() const {
  const std::scoped_lock lock(failure_mutex_);
  return failure_;
}

}  // namespace tpb::backend
