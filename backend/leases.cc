#include "backend/leases.h"

#include <algorithm>
#include <string>
#include <utility>

#include "ipc/error.h"

namespace tpb::backend {

ipc::LeaseRecord Leases::Add(ipc::Block block) {
  const std::scoped_lock lock(mutex_);
  const ipc::LeaseRecord record{.lease = next_++, .offset = block.offset(), .size = block.size()};
  blocks_.emplace_hint(blocks_.end(), record.lease, std::move(block));
  return record;
}

std::span<const std::byte> Leases::Bytes(std::uint64_t lease, std::uint64_t offset,
                                         std::uint64_t size) const {
  const std::scoped_lock lock(mutex_);
  const auto found = blocks_.find(lease);
  if (found == blocks_.end() || offset > found->second.size() || size > found->second.size() - offset) {
    throw ipc::ProtocolError("the stub process names " + std::to_string(size) + " bytes at " +
                             std::to_string(offset) + " of block " + std::to_string(lease) +
                             ", which it does not hold");
  }
  return {found->second.data() + offset, size};
}

void Leases::Drop(std::span<const ipc::LeaseRecord> leases) {
  const std::scoped_lock lock(mutex_);
  for (const auto& record : leases) {
    blocks_.erase(record.lease);
  }
}

void Leases::Settle(std::span<const ipc::LeaseRecord> leases, std::span<const std::uint64_t> kept) {
  const std::scoped_lock lock(mutex_);
  for (const auto& record : leases) {
    if (std::ranges::find(kept, record.lease) == kept.end()) {
      blocks_.erase(record.lease);
    }
  }
  ++settled_;
  std::erase_if(deferred_, [this](const Deferred& release) {
    if (release.replies_before > settled_) {
      return false;
    }
    blocks_.erase(release.lease);
    return true;
  });
}

bool Leases::Release(std::uint64_t lease, std::uint64_t replies_before) {
  const std::scoped_lock lock(mutex_);
  const auto found = blocks_.find(lease);
  if (found == blocks_.end()) {
    return false;
  }
  if (replies_before > settled_) {
    // One entry for each lease, so that a stub which repeats itself cannot make this grow.
    if (std::ranges::none_of(deferred_,
                             [lease](const Deferred& release) { return release.lease == lease; })) {
      deferred_.push_back({.lease = lease, .replies_before = replies_before});
    }
    return true;
  }
  blocks_.erase(found);
  return true;
}

std::size_t Leases::size() const {
  const std::scoped_lock lock(mutex_);
  return blocks_.size();
}

}  // namespace tpb::backend
