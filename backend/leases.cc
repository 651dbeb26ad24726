#include "backend/leases.h"

#include <algorithm>
#include <string>
#include <utility>

#include "ipc/error.h"

namespace tpb::backend {

ipc::LeaseRecord Leases::Add(ipc::Block block) {
  const std::scoped_lock lock(mutex_);
  const ipc::LeaseRecord record{.lease = next_++, .offset = block.offset(), .size = block.size()};
  blocks_.emplace_hint(blocks_.end(), record.lease, Leased{.block = std::move(block)});
  return record;
}

std::span<const std::byte> Leases::Bytes(std::uint64_t lease, std::uint64_t offset,
                                         std::uint64_t size) const {
  const std::scoped_lock lock(mutex_);
  const auto found = blocks_.find(lease);
  if (found == blocks_.end() || offset > found->second.block.size() ||
      size > found->second.block.size() - offset) {
    throw ipc::ProtocolError("the stub process names " + std::to_string(size) + " bytes at " +
                             std::to_string(offset) + " of block " + std::to_string(lease) +
                             ", which it does not hold");
  }
  return {found->second.block.data() + offset, size};
}

void Leases::Drop(std::span<const ipc::LeaseRecord> leases) {
  const std::scoped_lock lock(mutex_);
  for (const auto& record : leases) {
    Erase(record.lease);
  }
}

void Leases::Settle(std::span<const ipc::LeaseRecord> leases, std::span<const std::uint64_t> kept) {
  const std::scoped_lock lock(mutex_);
  for (const auto& record : leases) {
    if (std::ranges::find(kept, record.lease) == kept.end()) {
      Erase(record.lease);
    } else if (const auto found = blocks_.find(record.lease); found != blocks_.end()) {
      found->second.kept = true;
      kept_bytes_ += found->second.block.size();
    }
  }
  ++settled_;
  std::erase_if(deferred_, [this](const Deferred& release) {
    if (release.replies_before > settled_) {
      return false;
    }
    Erase(release.lease);
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
  Erase(lease);
  return true;
}

void Leases::Erase(std::uint64_t lease) {
  const auto found = blocks_.find(lease);
  if (found == blocks_.end()) {
    return;
  }
  if (found->second.kept) {
    kept_bytes_ -= found->second.block.size();
  }
  blocks_.erase(found);
}

std::uint64_t Leases::kept_bytes() const {
  const std::scoped_lock lock(mutex_);
  return kept_bytes_;
}

std::size_t Leases::size() const {
  const std::scoped_lock lock(mutex_);
  return blocks_.size();
}

}  // namespace tpb::backend
