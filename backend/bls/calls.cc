#include "backend/bls/calls.h"

#include <string>
#include <utility>

#include "backend/conversation.h"
#include "ipc/error.h"

namespace tpb::backend::bls {

void Calls::Start(const std::shared_ptr<Conversation>& conversation, std::uint64_t id,
                  const std::vector<std::byte>& body) {
  const ipc::Call message = ipc::DecodeCall(body);
  const auto call = Enlist(conversation, id, message.slot);
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
                                    std::uint32_t slot) {
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
  auto call = std::make_shared<Call>(conversation, gateway_, *this, id, slot);
  calls_.emplace(id, call);
  return call;
}

void Calls::Ended(std::uint64_t id) noexcept {
  const std::scoped_lock lock(mutex_);
  const auto found = calls_.find(id);
  if (found == calls_.end()) {
    return;
  }
  busy_.erase(found->second->slot());
  calls_.erase(found);
}

void Calls::CancelAll() noexcept {
  const std::scoped_lock lock(mutex_);
  closed_ = true;
  for (const auto& [id, call] : calls_) {
    call->Cancel();  // only marks the request: no callback comes from there
  }
}

}  // namespace tpb::backend::bls
