// What the server may still use of a call: its slot, and the copies of its inputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "ipc/arena.h"
#include "ipc/call_slots.h"
#include "stub/connection.h"
#include "stub/slot_holder.h"

namespace tpb::stub {

// Any thread, one at a time. What waits is called without the GIL.
class OpenCall {
 public:
  // Waits for a free slot. Throws Error when the server is gone.
  explicit OpenCall(Connection& connection);
  OpenCall(const OpenCall&) = delete;
  OpenCall& operator=(const OpenCall&) = delete;
  OpenCall(OpenCall&&) = delete;
  OpenCall& operator=(OpenCall&&) = delete;
  ~OpenCall();

  [[nodiscard]] std::uint32_t slot() const noexcept { return slot_.index(); }
  void Hold(std::vector<ipc::Block> blocks) { blocks_ = std::move(blocks); }

  // Throws Error when the server is gone, as the next do.
  void Send(std::span<const std::byte> body);
  void Await();

  // The answer to take, if there is one; then Advance() or, after the last, SetDone().
  [[nodiscard]] std::optional<ipc::Posted> Peek() const;
  void Advance() noexcept;
  void SetDone() noexcept;

  // With kLast, nobody takes answers any more but to find the last. Never waits.
  void Cancel(std::uint32_t flags) noexcept;

 private:
  Connection& connection_;  // outlives this
  const std::uint64_t id_;
  SlotHolder slot_;
  std::vector<ipc::Block> blocks_;
};

}  // namespace tpb::stub
