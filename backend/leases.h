// The blocks of the server's arena that a stub may still look at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "ipc/arena.h"
#include "ipc/wire.h"

namespace tpb::backend {

// A block is leased when a message that names it is sent, and comes back with the reply, unless the reply
// says that the stub keeps it: then a release message gives it back later. Used by the thread that exchanges
// messages and by the service thread.
class Leases {
 public:
  ipc::LeaseRecord Add(ipc::Block block);

  // The bytes that a stub names, which must lie inside a block leased to it. Throws ProtocolError otherwise.
  // They stay valid until the exchange that named them is settled.
  [[nodiscard]] std::span<const std::byte> Bytes(std::uint64_t lease, std::uint64_t offset,
                                                 std::uint64_t size) const;

  // The message that named them was never sent, or its reader is gone: they end.
  void Drop(std::span<const ipc::LeaseRecord> leases);

  // The reply to an exchange has been dealt with: its leases end, but for those that the stub keeps.
  void Settle(std::span<const ipc::LeaseRecord> leases, std::span<const std::uint64_t> kept);

  // The stub lets go of a kept lease. A reply that it sent before may still name the block, so it comes back
  // only when `replies_before` replies have been settled. False for a lease that does not exist: dropped.
  bool Release(std::uint64_t lease, std::uint64_t replies_before);

  [[nodiscard]] std::size_t size() const;

  // Of blocks that the stub keeps beyond the exchange that they came with.
  [[nodiscard]] std::uint64_t kept_bytes() const;

 private:
  struct Leased {
    ipc::Block block;
    bool kept = false;  // beyond its exchange
  };
  struct Deferred {
    std::uint64_t lease;
    std::uint64_t replies_before;
  };

  void Erase(std::uint64_t lease);

  mutable std::mutex mutex_;
  std::map<std::uint64_t, Leased> blocks_;
  std::uint64_t kept_bytes_ = 0;
  std::vector<Deferred> deferred_;
  std::uint64_t next_ = 1;
  std::uint64_t settled_ = 0;  // replies
};

// The leases of one exchange, which end with it on every path.
class ExchangeLeases {
 public:
  explicit ExchangeLeases(Leases& leases) : leases_(leases) {}
  ExchangeLeases(const ExchangeLeases&) = delete;
  ExchangeLeases& operator=(const ExchangeLeases&) = delete;
  ExchangeLeases(ExchangeLeases&&) = delete;
  ExchangeLeases& operator=(ExchangeLeases&&) = delete;
  ~ExchangeLeases() { leases_.Drop(records_); }

  const ipc::LeaseRecord& Add(ipc::Block block) {
    return records_.emplace_back(leases_.Add(std::move(block)));
  }
  [[nodiscard]] const std::vector<ipc::LeaseRecord>& records() const noexcept { return records_; }

  // They have been settled: nothing is left to drop.
  void Clear() noexcept { records_.clear(); }

 private:
  Leases& leases_;
  std::vector<ipc::LeaseRecord> records_;
};

}  // namespace tpb::backend
