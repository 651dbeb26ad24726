#include "stub/open_call.h"

#include <cstddef>
#include <new>

#include "ipc/error.h"

namespace tpb::stub {

OpenCall::OpenCall(Connection& connection)
    : connection_(connection), id_(connection.NextCallId()), slot_(connection) {}

OpenCall::~OpenCall() {
  if (connection_.InForkedChild()) {
    // The blocks are the parent's: giving them back would take a mutex that may have been held while forking.
    alignas(std::vector<ipc::Block>) std::byte forgotten[sizeof(std::vector<ipc::Block>)];
    new (forgotten) std::vector<ipc::Block>(std::move(blocks_));
    slot_.SetFree(false);
  }
}

void OpenCall::Send(std::span<const std::byte> body) {
  ipc::Slot event{};
  event.kind = static_cast<std::uint32_t>(ipc::MessageKind::kCall);
  event.id = id_;
  auto blocks = ipc::PutBody(*connection_.channel().arena(), body, event);
  slot_.SetFree(false);
  try {
    connection_.PushEvent(event, blocks);
  } catch (...) {
    slot_.SetFree(true);
    throw;
  }
}

void OpenCall::Await() {
  const auto gone = [this] {
    connection_.book()->Flush();  // a note that found no room
    return connection_.Gone();
  };
  if (!connection_.call_slots().Await(slot_.index(), id_, gone)) {
    throw ipc::Error(ipc::Code::kUnavailable, "the server is gone");
  }
}

std::optional<ipc::Posted> OpenCall::Peek() const {
  return connection_.call_slots().Peek(slot_.index(), id_);
}

void OpenCall::Advance() noexcept {
  if (!connection_.call_slots().Advance(slot_.index())) {
    return;
  }
  ipc::Slot event{};
  event.kind = static_cast<std::uint32_t>(ipc::MessageKind::kTaken);
  event.id = id_;
  connection_.book()->Note(event);
}

void OpenCall::SetDone() noexcept {
  slot_.SetFree(true);
  blocks_.clear();
}

void OpenCall::Cancel(std::uint32_t flags) noexcept {
  ipc::Slot event{};
  event.kind = static_cast<std::uint32_t>(ipc::MessageKind::kCancelCall);
  event.flags = flags;
  event.id = id_;
  connection_.book()->Note(event);
}

}  // namespace tpb::stub
