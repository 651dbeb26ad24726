#include "backend/attachment.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <utility>

#include "ipc/error.h"
#include "ipc/handshake.h"
#include "ipc/peer.h"
#include "ipc/socket.h"

namespace tpb::backend {
namespace {

// For a process that is stuck to print its stacks in.
constexpr std::chrono::seconds kTimeForStacks{2};

Conversation::Options ChannelOptions(const Attachment::Options& options) {
  return {.region_name = options.region_name,
          .max_bytes = options.max_bytes,
          .event_slots = options.event_slots,
          .memory_rules = options.memory_rules,
          .memory_budget = options.memory_budget,
          .label = options.label,
          .gateway = options.gateway,
          .model_control = options.model_control,
          .dropped = options.dropped};
}

}  // namespace

std::unique_ptr<Attachment> Attachment::Spawn(Spawner& spawner, const LaunchPlan& plan, Options options) {
  auto conversation = Conversation::Create(ChannelOptions(options));
  auto [own, stubs] = ipc::SocketPair();
  auto output = std::make_unique<StubOutput>(options.label);
  if (plan.config) {
    ipc::SendConfig(own.get(), *plan.config);
  }
  const pid_t pid = spawner.Spawn(plan, {.socket = stubs.get(),
                                         .standard_output = output->writing_end(StubOutput::kStdout),
                                         .standard_error = output->writing_end(StubOutput::kStderr)});
  stubs.Reset();
  output->CloseWritingEnds();
  std::unique_ptr<Attachment> attachment(
      new Attachment(pid, std::move(options), std::move(conversation), std::move(output), std::move(own)));
  attachment->ShakeHands();
  attachment->listener_->Start();
  return attachment;
}

Attachment::Attachment(pid_t pid, Options options, std::shared_ptr<Conversation> conversation,
                       std::unique_ptr<StubOutput> output, ipc::UniqueFd socket)
    : options_(std::move(options)),
      conversation_(std::move(conversation)),
      output_(std::move(output)),
      memory_watch_(*conversation_, options_.memory_budget, options_.label),
      socket_(std::move(socket)),
      process_(pid),
      listener_(std::make_unique<Listener>(ListenerOptions(),
                                           Listener::Stub{.process = process_,
                                                          .socket = socket_.get(),
                                                          .output = *output_,
                                                          .memory = memory_watch_,
                                                          .ending = ending_},
                                           conversation_)) {}

Attachment::~Attachment() { End(ipc::Deadline::After(std::chrono::seconds(0))); }

Listener::Options Attachment::ListenerOptions() {
  return {.channel = ChannelOptions(options_),
          .package_version = options_.package_version,
          .complain = options_.complain,
          .condemn = [this](const std::string& why) { Condemn(why); },
          .gone = [this] { MarkGone(); },
          .epitaph = [this] { return Epitaph(); },
          .leaving = options_.leaving,
          .leaving_timeout = options_.leaving_timeout,
          .end_stuck = [this](const std::string& why) { EndStuck(why); }};
}

void Attachment::ShakeHands() {
  switch (AwaitHello()) {
    case Heard::kHello:
      break;
    case Heard::kEnd:
      throw DiedAtStart("before its first message");
    case Heard::kInterrupt:
      throw ipc::Error(ipc::Code::kUnavailable, "'" + options_.label + "' is being unloaded");
    case Heard::kNothing:
      throw ipc::Error(ipc::Code::kInternal,
                       "Stub process '" + options_.label + "' is not healthy. It sent no message within " +
                           std::to_string(options_.hello_timeout.count()) +
                           " s (--backend-config=python,stub-timeout-seconds)" +
                           (last_step_.empty() ? "." : "; before that it said: " + last_step_));
  }
  if (ipc::PeerClosed(socket_.get())) {
    process_.KillGroup();  // it has closed its end, so there is nothing to wait for
    AwaitEnd();
    throw DiedAtStart("before its first message");
  }
  ipc::ReceiveStubHello(socket_.get(), options_.package_version);
  const ipc::UniqueFd own_pidfd = ipc::OpenPidfd(::getpid());
  try {
    ipc::SendServerHello(socket_.get(), options_.package_version, conversation_->channel().layout(),
                         conversation_->channel().memfd(), conversation_->channel().eventfd(),
                         own_pidfd.get());
  } catch (const ipc::Error&) {
    if (!ipc::PeerClosed(socket_.get())) {
      throw;
    }
    process_.KillGroup();
    AwaitEnd();
    throw DiedAtStart("after its first message");
  }
}

// What the process prints before its hello is logged meanwhile: there is no listener yet, and a full pipe
// would keep it from ever saying hello. Each step of a launcher starts the clock anew.
Attachment::Heard Attachment::AwaitHello() {
  auto deadline = ipc::Deadline::After(options_.hello_timeout);
  while (true) {
    const std::array<int, 5> sources{socket_.get(), process_.pidfd(),
                                     output_->descriptor(StubOutput::kStdout),
                                     output_->descriptor(StubOutput::kStderr), options_.interrupt};
    const int ready = ipc::WaitReadable(sources.data(), static_cast<int>(sources.size()), deadline);
    if (ready < 0) {
      return Heard::kNothing;
    }
    if (ready == 0) {
      if (!TakeStep()) {
        return Heard::kHello;
      }
      deadline = ipc::Deadline::After(options_.hello_timeout);
    } else if (ready == 1) {
      return Heard::kEnd;
    } else if (ready == 4) {
      return Heard::kInterrupt;
    } else {
      output_->Read(StubOutput::kStreams[static_cast<std::size_t>(ready) - 2]);
      if (deadline.Passed()) {
        return Heard::kNothing;
      }
    }
  }
}

bool Attachment::TakeStep() {
  auto step = ipc::TakeStep(socket_.get());
  if (step && !step->text.empty()) {
    options_.report(*step);
    last_step_ = std::move(step->text);
  }
  return step.has_value();
}

ipc::Error Attachment::DiedAtStart(const std::string& when) const {
  return {ipc::Code::kInternal, "Stub process '" + options_.label + "' is not healthy. It " +
                                    process_.DescribeEnd() + " " + when +
                                    "; its output is in the server's log."};
}

std::optional<Attachment::Answer> Attachment::Exchange(ipc::MessageKind kind, std::span<const std::byte> body,
                                                       ipc::Deadline deadline) {
  last_pushed_ = false;
  if (gone()) {
    return std::nullopt;
  }
  try {
    conversation_->TellLogLevels();
    ipc::ServerChannel& channel = conversation_->channel();
    ipc::Slot slot{};
    slot.kind = static_cast<std::uint32_t>(kind);
    slot.id = next_id_++;
    auto blocks = ipc::PutBody(*channel.arena(), body, slot);
    if (!channel.work().TryPush(slot, blocks)) {
      throw ipc::ProtocolError("the stub process does not take its work messages");
    }
    last_pushed_ = true;
    memory_watch_.Touch();  // looks after a request that takes long, too
    const auto reply = AwaitReply(slot.id, deadline);
    if (!reply) {
      return std::nullopt;
    }
    Answer answer;
    answer.body = channel.CopyBody(*reply);
    answer.reply = ipc::DecodeReply(answer.body);
    conversation_->AwaitEvents(reply->sent_before, gone_);
    return answer;
  } catch (const ipc::ProtocolError& error) {
    Condemn(error.message());
    return std::nullopt;
  }
}

bool Attachment::HasReadLast() noexcept {
  try {
    return last_pushed_ && conversation_->channel().work().AllTaken();
  } catch (const std::exception&) {  // an impossible index
    return true;
  }
}

std::optional<ipc::Slot> Attachment::AwaitReply(std::uint64_t id, ipc::Deadline deadline) {
  auto& replies = conversation_->channel().replies();
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
    conversation_->CountDropped();
    replies.Advance();
    leases().Settle({}, {});
  }
}

void Attachment::Settle(ExchangeLeases& leases, std::span<const std::uint64_t> kept) {
  if (std::exchange(reply_held_, false)) {
    conversation_->channel().replies().Advance();
  }
  this->leases().Settle(leases.records(), kept);
  leases.Clear();
  memory_watch_.Touch();
}

void Attachment::Settle() {
  ExchangeLeases none(leases());
  Settle(none, {});
}

void Attachment::Condemn(const std::string& why) noexcept {
  if (PassSentence(why, "protocol")) {
    process_.KillGroup();
  }
  MarkGone();
}

void Attachment::EndStuck(const std::string& why) noexcept {
  if (PassSentence(why, "stuck")) {
    PrintStacks();
    process_.KillGroup();
  }
  MarkGone();
}

// The process ends over it, if it is not beyond that.
void Attachment::PrintStacks() noexcept {
  process_.Abort();
  const int pidfd = process_.pidfd();
  ipc::WaitReadable(&pidfd, 1, ipc::Deadline::After(kTimeForStacks));
}

// False when it is ending anyway.
bool Attachment::PassSentence(const std::string& why, const char* cause) noexcept {
  if (ending_.exchange(true)) {
    process_.KillGroup();
    return false;
  }
  {
    const std::scoped_lock lock(on_gone_mutex_);
    verdict_ = why;
    cause_ = cause;
  }
  options_.complain("ending the stub process of '" + output_->label() + "' (pid " + std::to_string(pid()) +
                    "): " + why);
  return true;
}

void Attachment::Finalize(ipc::Deadline deadline) noexcept {
  ending_ = true;
  try {
    const auto answer = Exchange(ipc::MessageKind::kFinalize, {}, deadline);
    Settle();
    if (!answer) {
      options_.complain("the stub process of '" + output_->label() + "' (pid " + std::to_string(pid()) +
                        ") did not finish finalize(): it " + process_.DescribeEnd());
      PrintStacks();
    }
  } catch (const std::exception& error) {
    options_.complain("unable to finalize '" + output_->label() + "': " + error.what());
  }
  End(deadline);
}

void Attachment::End(ipc::Deadline deadline) noexcept {
  ending_ = true;
  const int pidfd = process_.pidfd();
  if (pidfd >= 0) {
    ipc::WaitReadable(&pidfd, 1, deadline);
  }
  listener_->Stop();
  process_.End(deadline);
  ipc::Drain(socket_.get());
  output_->Finish();
  MarkGone();
  if (options_.gateway) {
    options_.gateway->AwaitNone(deadline);
  }
}

void Attachment::MarkGone() noexcept {
  gone_.store(true, std::memory_order_release);
  conversation_->channel().replies().Wake();
  conversation_->Wake();
  std::function<void()> on_gone;
  {
    const std::scoped_lock lock(on_gone_mutex_);
    on_gone.swap(on_gone_);
  }
  if (on_gone) {
    on_gone();
  }
}

void Attachment::OnGone(std::function<void()> on_gone) {
  {
    const std::scoped_lock lock(on_gone_mutex_);
    on_gone_.swap(on_gone);
  }
  if (gone()) {
    MarkGone();
  }
}

// For a moment: whoever has just killed it, or seen it close its socket, sees it end.
void Attachment::AwaitEnd() const {
  const int pidfd = process_.pidfd();
  ipc::WaitReadable(&pidfd, 1, ipc::Deadline::After(std::chrono::seconds(1)));
}

std::string Attachment::Epitaph() const {
  AwaitEnd();
  const std::scoped_lock lock(on_gone_mutex_);
  return verdict_.empty() ? "It " + process_.DescribeEnd() + "." : "It was ended: " + verdict_ + ".";
}

std::string Attachment::Cause() const {
  AwaitEnd();
  const std::scoped_lock lock(on_gone_mutex_);
  return cause_.empty() ? process_.CauseOfEnd() : cause_;
}

bool Attachment::condemned() const {
  const std::scoped_lock lock(on_gone_mutex_);
  return !cause_.empty();
}

}  // namespace tpb::backend
