#include "stub/orphans.h"

#include <exception>
#include <utility>

#include "ipc/messages.h"
#include "stub/connection.h"
#include "stub/open_call.h"

namespace tpb::stub {

Orphans::Orphans(Connection& connection) : connection_(connection) {}

Orphans::~Orphans() = default;

void Orphans::Adopt(std::unique_ptr<OpenCall> call, std::vector<std::shared_ptr<Lease>> lent) noexcept {
  if (connection_.InForkedChild()) {
    return;
  }
  call->Cancel(ipc::kLast);
  try {
    const std::scoped_lock lock(mutex_);
    orphans_.push_back({.call = std::move(call), .lent = std::move(lent)});
  } catch (const std::exception&) {
    // Out of memory: what the server may still read stays where it is, for good.
    [[maybe_unused]] const auto* lost = call.release();
  }
}

void Orphans::Reap() noexcept {
  if (connection_.InForkedChild()) {
    return;
  }
  std::vector<Orphan> over;  // ends without the mutex
  try {
    const std::scoped_lock lock(mutex_);
    for (auto next = orphans_.begin(); next != orphans_.end();) {
      if (IsOver(*next->call)) {
        over.push_back(std::move(*next));
        next = orphans_.erase(next);
      } else {
        ++next;
      }
    }
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // An answer that does not fit, or no memory: later, or with the connection.
  }
}

// Whatever its answers name goes back unread.
bool Orphans::IsOver(OpenCall& call) {
  while (const auto posted = call.Peek()) {
    bool last = posted->no_room;
    if (!posted->no_room) {
      const auto body = connection_.channel().ServerBytes(posted->offset, posted->size);
      const std::vector<std::byte> copy(body.begin(), body.end());
      const ipc::CallAnswer answer = ipc::DecodeCallAnswer(copy);
      for (const auto& record : answer.leases) {
        connection_.book()->Release(record.lease, record.size);
      }
      connection_.book()->Release(posted->lease, posted->size);
      last = answer.last;
    }
    if (last) {
      call.SetDone();
      return true;
    }
    call.Advance();
  }
  return false;
}

}  // namespace tpb::stub
