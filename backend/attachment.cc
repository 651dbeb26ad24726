#include "backend/attachment.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
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
constexpr std::chrono::seconds kEventsPatience{5};
constexpr int kEventsAtOnce = 1024;
constexpr int kLookAgainMs = 1000;  // without a pidfd, the end of a process is looked for this often

enum Source : std::uint32_t { kProcess, kSocket, kEvents, kStop };

void Watch(int epoll, int fd, Source source) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u32 = source;
  if (fd >= 0 && ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
    ipc::ThrowErrno("Unable to watch a stub process", errno);
  }
}

}  // namespace

std::unique_ptr<Attachment> Attachment::Spawn(Spawner& spawner, const LaunchPlan& plan, Options options) {
  auto channel = ipc::ServerChannel::Create(
      {.name = options.region_name, .max_bytes = options.max_bytes, .event_slots = options.event_slots});
  auto [own, stubs] = ipc::SocketPair();
  ipc::UniqueFd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop.valid()) {
    ipc::ThrowErrno("Unable to create an eventfd for a stub process", errno);
  }
  const pid_t pid = spawner.Spawn(plan, stubs.get());
  stubs.Reset();
  std::unique_ptr<Attachment> attachment(
      new Attachment(pid, std::move(options), std::move(channel), std::move(own), std::move(stop)));
  attachment->ShakeHands();
  attachment->service_ = StartThread("tpb-service", [raw = attachment.get()] { raw->Serve(); });
  return attachment;
}

Attachment::Attachment(pid_t pid, Options options, std::unique_ptr<ipc::ServerChannel> channel,
                       ipc::UniqueFd socket, ipc::UniqueFd stop)
    : options_(std::move(options)),
      channel_(std::move(channel)),
      socket_(std::move(socket)),
      stop_(std::move(stop)),
      process_(pid) {}

Attachment::~Attachment() { End(ipc::Deadline::After(std::chrono::seconds(0))); }

void Attachment::ShakeHands() {
  const std::array<int, 2> sources{socket_.get(), process_.pidfd()};
  const int ready = ipc::WaitReadable(sources.data(), static_cast<int>(sources.size()),
                                      ipc::Deadline::After(options_.hello_timeout));
  if (ready < 0) {
    throw ipc::Error(ipc::Code::kInternal, "Stub process '" + options_.label +
                                               "' is not healthy. It sent no message "
                                               "within " +
                                               std::to_string(options_.hello_timeout.count()) +
                                               " s (--backend-config=python,stub-timeout-seconds).");
  }
  if (ready == 1) {
    throw DiedBeforeHello();
  }
  if (ipc::PeerClosed(socket_.get())) {
    process_.KillGroup();  // it has closed its end, so there is nothing to wait for
    const int pidfd = process_.pidfd();
    ipc::WaitReadable(&pidfd, 1, ipc::Deadline::After(std::chrono::seconds(1)));
    throw DiedBeforeHello();
  }
  ipc::ReceiveStubHello(socket_.get(), options_.package_version);
  const ipc::UniqueFd own_pidfd = ipc::OpenPidfd(::getpid());
  ipc::SendServerHello(socket_.get(), options_.package_version, channel_->layout(), channel_->memfd(),
                       channel_->eventfd(), own_pidfd.get());
}

ipc::Error Attachment::DiedBeforeHello() const {
  return {ipc::Code::kInternal, "Stub process '" + options_.label + "' is not healthy. It " +
                                    process_.DescribeEnd() +
                                    " before its first message; its output is in the server's log."};
}

std::optional<Attachment::Answer> Attachment::Exchange(ipc::MessageKind kind, std::span<const std::byte> body,
                                                       ipc::Deadline deadline) {
  if (gone()) {
    return std::nullopt;
  }
  try {
    ipc::Slot slot{};
    slot.kind = static_cast<std::uint32_t>(kind);
    slot.id = next_id_++;
    auto blocks = ipc::PutBody(*channel_->arena(), body, slot);
    if (!channel_->work().TryPush(slot, blocks)) {
      throw ipc::ProtocolError("the stub process does not take its work messages");
    }
    const auto reply = AwaitReply(slot.id, deadline);
    if (!reply) {
      return std::nullopt;
    }
    Answer answer;
    answer.body = channel_->CopyBody(*reply);
    answer.reply = ipc::DecodeReply(answer.body);
    AwaitEvents(reply->sent_before);
    return answer;
  } catch (const ipc::ProtocolError& error) {
    Condemn(error.message());
    return std::nullopt;
  }
}

std::optional<ipc::Slot> Attachment::AwaitReply(std::uint64_t id, ipc::Deadline deadline) {
  auto& replies = channel_->replies();
  while (true) {
    if (replies.Wait(deadline, gone_) != ipc::WaitResult::kMessage) {
      return std::nullopt;
    }
    const auto slot = replies.Peek();
    if (!slot) {
      continue;
    }
    if (slot->kind == static_cast<std::uint32_t>(ipc::MessageKind::kReply) && slot->id == id) {
      reply_held_ = true;
      return slot;
    }
    // A late, duplicate or unknown answer is nobody's.
    dropped_.fetch_add(1, std::memory_order_relaxed);
    replies.Advance();
  }
}

// What the stub sent before its reply is dealt with before the reply is.
void Attachment::AwaitEvents(std::uint64_t count) {
  std::unique_lock lock(events_mutex_);
  const auto handled = [&] { return events_handled_ >= count || gone(); };
  // The service thread never blocks, so a count that it does not reach soon was never sent.
  if (!events_wake_.wait_for(lock, kEventsPatience, handled)) {
    throw ipc::ProtocolError("the stub process claims " + std::to_string(count) + " events, it sent " +
                             std::to_string(events_handled_));
  }
}

void Attachment::Settle(ExchangeLeases& leases, std::span<const std::uint64_t> kept) {
  if (std::exchange(reply_held_, false)) {
    channel_->replies().Advance();
  }
  leases_.Settle(leases.records(), kept);
  leases.Clear();
}

void Attachment::Settle() {
  ExchangeLeases none(leases_);
  Settle(none, {});
}

void Attachment::Condemn(const std::string& why) noexcept {
  if (!ending_.exchange(true)) {
    options_.complain("ending the stub process of '" + options_.label + "' (pid " + std::to_string(pid()) +
                      "): " + why);
  }
  process_.KillGroup();
  MarkGone();
}

void Attachment::Finalize(ipc::Deadline deadline) noexcept {
  ending_ = true;
  try {
    const auto answer = Exchange(ipc::MessageKind::kFinalize, {}, deadline);
    Settle();
    if (!answer) {
      options_.complain("the stub process of '" + options_.label + "' (pid " + std::to_string(pid()) +
                        ") did not finish finalize(): it " + process_.DescribeEnd());
    }
  } catch (const std::exception& error) {
    options_.complain("unable to finalize '" + options_.label + "': " + error.what());
  }
  End(deadline);
}

void Attachment::End(ipc::Deadline deadline) noexcept {
  ending_ = true;
  const int pidfd = process_.pidfd();
  if (pidfd >= 0) {
    ipc::WaitReadable(&pidfd, 1, deadline);
  }
  ::eventfd_write(stop_.get(), 1);
  if (service_.joinable()) {
    service_.join();
  }
  process_.End(deadline);
  MarkGone();
}

void Attachment::MarkGone() noexcept {
  gone_.store(true, std::memory_order_release);
  channel_->replies().Wake();
  {
    const std::scoped_lock lock(events_mutex_);
  }
  events_wake_.notify_all();
}

void Attachment::Serve() noexcept {
  try {
    ServeUntilStopped();
  } catch (const std::exception& error) {
    Condemn(error.what());
  }
}

void Attachment::ServeUntilStopped() {
  const ipc::UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) {
    ipc::ThrowErrno("Unable to watch a stub process", errno);
  }
  Watch(epoll.get(), process_.pidfd(), kProcess);
  Watch(epoll.get(), socket_.get(), kSocket);
  Watch(epoll.get(), channel_->eventfd(), kEvents);
  Watch(epoll.get(), stop_.get(), kStop);
  const int patience = process_.pidfd() >= 0 ? -1 : kLookAgainMs;
  while (!gone()) {
    // A stub that floods its ring does not keep the thread from looking at the rest.
    const bool more = DrainEvents(kEventsAtOnce) || !channel_->events().PrepareToSleep();
    epoll_event event{};
    const int ready = ::epoll_wait(epoll.get(), &event, 1, more ? 0 : patience);
    channel_->events().Awake();
    const bool process_event = ready > 0 && event.data.u32 == kProcess;
    if (process_event || (ready == 0 && !more && process_.Ended())) {
      break;
    }
    if (ready > 0 && event.data.u32 == kSocket) {
      ReadSocket(epoll.get());
    } else if (ready > 0 && event.data.u32 == kEvents) {
      eventfd_t count = 0;
      ::eventfd_read(channel_->eventfd(), &count);
    } else if (ready > 0 && event.data.u32 == kStop) {
      return;
    }
  }
  DrainEvents(kEventsAtOnce);
  ReadLastWords();
  if (!ending_.exchange(true)) {
    options_.complain("the stub process of '" + options_.label + "' (pid " + std::to_string(pid()) + ") " +
                      process_.DescribeEnd());
  }
  process_.KillGroup();  // workers that the model has started
  MarkGone();
}

// True when there may be more.
bool Attachment::DrainEvents(int limit) {
  auto& events = channel_->events();
  for (; limit > 0; --limit) {
    const auto slot = events.Peek();
    if (!slot) {
      return false;
    }
    HandleEvent(*slot);
    events.Advance();
    {
      const std::scoped_lock lock(events_mutex_);
      ++events_handled_;
    }
    events_wake_.notify_all();
  }
  return true;
}

void Attachment::HandleEvent(const ipc::Slot& slot) {
  if (slot.kind != static_cast<std::uint32_t>(ipc::MessageKind::kRelease)) {
    throw ipc::ProtocolError("the stub process sent an event of kind " + std::to_string(slot.kind));
  }
  if (!leases_.Release(slot.id, slot.sent_before)) {
    dropped_.fetch_add(1, std::memory_order_relaxed);
  }
}

// After the handshake the stub only uses the socket to say why it cannot go on, or to close it.
void Attachment::ReadSocket(int epoll) {
  const auto received = ipc::ReceiveMessage(socket_.get(), kMaxSocketMessage, 0);
  if (received.bytes.empty() && ending_) {
    ::epoll_ctl(epoll, EPOLL_CTL_DEL, socket_.get(), nullptr);  // it may still be busy leaving
    return;
  }
  if (received.bytes.empty()) {
    const int pidfd = process_.pidfd();
    ipc::WaitReadable(&pidfd, 1, ipc::Deadline::After(std::chrono::seconds(1)));
    throw ipc::Error(ipc::Code::kUnavailable, "it closed its connection and " + process_.DescribeEnd());
  }
  KeepFailure(received.bytes);
}

// A process that has ended may have left a message behind.
void Attachment::ReadLastWords() noexcept {
  try {
    const int socket = socket_.get();
    while (ipc::WaitReadable(&socket, 1, ipc::Deadline::After(std::chrono::seconds(0))) == 0 &&
           !ipc::PeerClosed(socket)) {
      KeepFailure(ipc::ReceiveMessage(socket, kMaxSocketMessage, 0).bytes);
    }
  } catch (const std::exception& error) {
    options_.complain("the last message of the stub process of '" + options_.label + "': " + error.what());
  }
}

void Attachment::KeepFailure(std::span<const std::byte> message) {
  const std::string failure =
      ipc::FailureText({reinterpret_cast<const char*>(message.data()), message.size()});
  if (failure.empty()) {
    throw ipc::ProtocolError("the stub process sent an unknown message on its socket");
  }
  options_.complain("stub process of '" + options_.label + "': " + failure);
  const std::scoped_lock lock(failure_mutex_);
  failure_ = failure;
}

std::string Attachment::failure() const {
  const std::scoped_lock lock(failure_mutex_);
  return failure_;
}

}  // namespace tpb::backend
