#include "backend/bls/calls.h"

#include <string>
#include <utility>

#include "backend/conversation.h"
#include "ipc/error.h"

namespace tpb::backend::bls {

void Calls::Start(const std::shared_ptr<Conversation>& conversation, std::uint64_t id,
                  const std::vector<std::byte>& body) {
  const ipc::Call message = ipc::DecodeCall(body);
  const auto call = Enlist(conversation, id, message);
  if (!call) {
    return;
  }
  try {
    call->Start(message);
  } catch (...) {
    Ended(id);
    throw;
  }
}

std::shared_ptr<Call> Calls::Enlist(const std::shared_ptr<Conversation>& conversation, std::uint64_t id,
                                    const ipc::Call& message) {
  const std::uint32_t slot = message.slot;
  if (!gateway_ || slot >= conversation->channel().calls().size()) {
    throw ipc::ProtocolError("a call that waits in slot " + std::to_string(slot));
  }
  const std::scoped_lock lock(mutex_);
  if (closed_) {
    return nullptr;  // nobody waits any more
  }
  if (calls_.contains(id) || !busy_.emplace(slot, id).second) {
    throw ipc::ProtocolError("call " + std::to_string(id) + " in slot " + std::to_string(slot) +
                             ", which another call is waiting in");
  }
  auto call = std::make_shared<Call>(conversation, gateway_, *this, id, message);
  calls_.emplace(id, call);
  of_batch_ += call->is_of_batch() ? 1 : 0;
  return call;
}

void Calls::Ended(std::uint64_t id) noexcept {
  const std::scoped_lock lock(mutex_);
  const auto found = calls_.find(id);
  if (found == calls_.end()) {
    return;
  }
  of_batch_ -= found->second->is_of_batch() ? 1 : 0;
  busy_.erase(found->second->slot());
  calls_.erase(found);
}

std::shared_ptr<Call> Calls::Find(std::uint64_t id) noexcept {
  const std::scoped_lock lock(mutex_);
  const auto found = calls_.find(id);
  return found == calls_.end() ? nullptr : found->second;
}

bool Calls::Taken(std::uint64_t id) noexcept {
  const auto call = Find(id);
  if (call) {
    call->Taken();
  }
  return call != nullptr;
}

bool Calls::Cancel(std::uint64_t id, bool abandoned) noexcept {
  const auto call = Find(id);
  if (!call) {
    return false;
  }
  if (abandoned) {
    call->Abandon();
  } else {
    call->Cancel();
  }
  return true;
}

bool Calls::AnyOfBatch() noexcept {
  const std::scoped_lock lock(mutex_);
  return of_batch_ != 0;
}

void Calls::CancelThoseOfBatch() noexcept {
  std::vector<std::shared_ptr<Call>> calls;
  {
    const std::scoped_lock lock(mutex_);
    for (const auto& [id, call] : calls_) {
      if (call->is_of_batch()) {
        calls.push_back(call);
      }
    }
  }
  for (const auto& call : calls) {
    call->Cancel();
  }
}

// A call that ends comes here with its own mutex held, so that is not waited for with ours.
void Calls::CancelAll() noexcept {
  std::map<std::uint64_t, std::shared_ptr<Call>> calls;
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    calls.swap(calls_);  // each keeps itself while core works on it
    busy_.clear();
    of_batch_ = 0;
  }
  for (const auto& [id, call] : calls) {
    call->Abandon();  // only marks the request: no callback comes from there
  }
}

}  // namespace tpb::backend::bls
