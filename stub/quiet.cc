#include "stub/quiet.h"

#include <chrono>
#include <cstdint>
#include <vector>

#include "stub/heap.h"

namespace tpb::stub {

ipc::Deadline QuietTime(const ipc::StubChannel& channel) {
  const std::chrono::seconds quiet(channel.memory_rules().release_after_seconds);
  return quiet.count() == 0 ? ipc::Deadline::Never() : ipc::Deadline::After(quiet);
}

void Tidy(ipc::StubChannel& channel) {
  channel.replies().Reclaim();  // the last answer
  if (channel.arena()->HasToGiveBack()) {
    channel.arena()->GiveBack();  // of a kernel that cannot, the server tells
    ipc::Slot slot{};
    slot.kind = static_cast<std::uint32_t>(ipc::MessageKind::kGaveBack);
    std::vector<ipc::Block> no_blocks;
    channel.events().TryPush(slot, no_blocks);  // only news: with a full ring the server is awake anyway
  }
  TrimHeap();
}

}  // namespace tpb::stub
