#include "backend/conversation.h"

#include <utility>

#include "backend/model_log.h"
#include "ipc/error.h"
#include "ipc/messages.h"

namespace tpb::backend {

std::shared_ptr<Conversation> Conversation::Create(const Options& options) {
  auto channel = ipc::ServerChannel::Create({.name = options.region_name,
                                             .max_bytes = options.max_bytes,
                                             .event_slots = options.event_slots,
                                             .memory_rules = options.memory_rules,
                                             .budget = options.memory_budget});
  std::shared_ptr<Conversation> conversation(new Conversation(std::move(channel), options));
  conversation->TellLogLevels();
  return conversation;
}

Conversation::Conversation(std::unique_ptr<ipc::ServerChannel> channel, const Options& options)
    : label_(options.label),
      events_patience_(options.events_patience),
      channel_(std::move(channel)),
      calls_(options.gateway),
      responders_(channel_->cancellations()),
      asks_(options.gateway, options.model_control),
      ready_check_(channel_->control()),
      gateway_(options.gateway),
      dropped_(options.dropped) {}

bool Conversation::HandleEvents(int limit) {
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

void Conversation::HandleEvent(const ipc::Slot& slot) {
  switch (static_cast<ipc::MessageKind>(slot.kind)) {
    case ipc::MessageKind::kRelease:
      CountUnless(leases_.Release(slot.id, slot.sent_before));
      return;
    case ipc::MessageKind::kCall:
      CountAsked();
      calls_.Start(shared_from_this(), slot.id, channel_->CopyBody(slot));
      return;
    case ipc::MessageKind::kLog:
      LogLine(slot);
      return;
    case ipc::MessageKind::kRespond:
      Respond(slot);
      return;
    case ipc::MessageKind::kAbandon:
      CountUnless(responders_.Abandon(slot.id));
      return;
    case ipc::MessageKind::kWatch:
      responders_.Watch(slot.id, slot.offset);
      return;
    case ipc::MessageKind::kTaken:
      CountUnless(calls_.Taken(slot.id));
      return;
    case ipc::MessageKind::kCancelCall:
      CountUnless(calls_.Cancel(slot.id, (slot.flags & ipc::kLast) != 0));
      return;
    case ipc::MessageKind::kGaveBack:
      return;  // whoever woke up for it looks at the memory
    case ipc::MessageKind::kAsk:
      CountAsked();
      asks_.Take(shared_from_this(), slot.id, channel_->CopyBody(slot));
      return;
    case ipc::MessageKind::kMetricUpdate:
      CountUnless(asks_.Update(slot));
      return;
    case ipc::MessageKind::kReadyAnswer:
      TakeReadyAnswer(slot);
      return;
    default:
      throw ipc::ProtocolError("the stub process sent an event of kind " + std::to_string(slot.kind));
  }
}

void Conversation::CountAsked() noexcept {
  if (gateway_) {
    gateway_->CountAsked();
  }
}

void Conversation::CountUnless(bool known) noexcept {
  if (!known) {
    CountDropped();
  }
}

void Conversation::Respond(const ipc::Slot& slot) {
  const bool last = (slot.flags & ipc::kLast) != 0;
  if (slot.size == 0 && last) {
    CountUnless(responders_.SendFinal(slot.id));
    return;
  }
  const auto body = channel_->CopyBody(slot);
  const ipc::Response response = ipc::DecodeResponse(body);
  if (response.kind != ipc::ResponseKind::kTensors && response.kind != ipc::ResponseKind::kError) {
    throw ipc::ProtocolError("the stub process sent a response of kind " +
                             std::to_string(static_cast<std::uint32_t>(response.kind)));
  }
  CountUnless(responders_.Send(slot.id, response, payloads(), last));
}

void Conversation::LogLine(const ipc::Slot& slot) {
  if (slot.size > ipc::kMaxLogBytes) {
    throw ipc::ProtocolError("the stub process sent a line of " + std::to_string(slot.size) +
                             " bytes for the log");
  }
  const auto body = channel_->CopyBody(slot);
  LogModelLine(ipc::DecodeLogLine(body));
}

void Conversation::TakeReadyAnswer(const ipc::Slot& slot) {
  const auto answer = static_cast<ipc::Readiness>(slot.unused[0]);
  if (answer > ipc::Readiness::kFailed || slot.size > ipc::kMaxReadyBytes) {
    throw ipc::ProtocolError("the stub process sent an impossible answer of is_ready()");
  }
  const auto body = channel_->CopyBody(slot);
  ipc::Reader reader(body);
  const std::string_view text = answer == ipc::Readiness::kFailed ? reader.GetString() : std::string_view();
  reader.ExpectEnd();
  CountUnless(ready_check_.Answer(slot.id, answer, text));
}

void Conversation::TellLogLevels() noexcept {
  const std::uint32_t levels = EnabledLogLevels();
  auto& told = channel_->control().log_levels;
  // Stored only when it changes: the stub's processors keep the line in their caches.
  if (told.load(std::memory_order_relaxed) != levels) {
    told.store(levels, std::memory_order_relaxed);
  }
}

// What the stub sent before its reply is dealt with before the reply is.
void Conversation::AwaitEvents(std::uint64_t count, const std::atomic<bool>& gone) {
  std::unique_lock lock(events_mutex_);
  const auto handled = [&] { return events_handled_ >= count || gone.load(std::memory_order_acquire); };
  while (!events_wake_.wait_for(lock, events_patience_, handled)) {
    // The service thread never waits for the stub, but a log whose reader has stopped can hold it up.
    const std::uint32_t unread = channel_->events().tail() - static_cast<std::uint32_t>(events_handled_);
    if (count - events_handled_ > unread) {
      throw ipc::ProtocolError("the stub process claims " + std::to_string(count) + " events, it sent " +
                               std::to_string(events_handled_ + unread));
    }
  }
}

void Conversation::Wake() noexcept {
  {
    const std::scoped_lock lock(events_mutex_);
  }
  events_wake_.notify_all();
  ready_check_.Wake();
}

void Conversation::LookForCancelled() noexcept {
  responders_.LookForCancelled();
  if (calls_.AnyOfBatch() && responders_.BatchIsCancelled()) {
    calls_.CancelThoseOfBatch();  // again and again, which does no harm
  }
}

void Conversation::CancelAll() noexcept {
  calls_.CancelAll();
  responders_.CancelAll();
}

void Conversation::Close(const std::string& how) noexcept {
  calls_.CancelAll();
  responders_.FailAll(how);
  asks_.Close();
}

}  // namespace tpb::backend
