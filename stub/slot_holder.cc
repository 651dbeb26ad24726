#include "stub/slot_holder.h"

#include <chrono>
#include <thread>

#include "ipc/error.h"

namespace tpb::stub {
namespace {

constexpr std::chrono::milliseconds kLookForSlot{1};

std::uint32_t Take(Connection& connection) {
  while (true) {
    if (const auto index = connection.call_slots().Take()) {
      return *index;
    }
    if (connection.Gone()) {
      throw ipc::Error(ipc::Code::kUnavailable, "the server is gone");
    }
    std::this_thread::sleep_for(kLookForSlot);
  }
}

}  // namespace

SlotHolder::SlotHolder(Connection& connection) : connection_(connection), index_(Take(connection)) {}

SlotHolder::~SlotHolder() {
  if (answered_) {
    connection_.call_slots().GiveBack(index_);
  }
}

}  // namespace tpb::stub
