// A call slot, for one question to the server.
#pragma once

#include <cstdint>

#include "stub/connection.h"

namespace tpb::stub {

class SlotHolder {
 public:
  // Waits while all are in use; without the GIL. Throws Error when the server is gone.
  explicit SlotHolder(Connection& connection);
  SlotHolder(const SlotHolder&) = delete;
  SlotHolder& operator=(const SlotHolder&) = delete;
  SlotHolder(SlotHolder&&) = delete;
  SlotHolder& operator=(SlotHolder&&) = delete;
  // A slot without its last answer may still get one: it is never used again.
  ~SlotHolder() {
    if (free_) {
      connection_.call_slots().GiveBack(index_);
    }
  }

  [[nodiscard]] std::uint32_t index() const noexcept { return index_; }

  // The server has no claim to the slot: no call was sent, or its last answer is there.
  void SetFree(bool free) noexcept { free_ = free; }

 private:
  Connection& connection_;  // outlives this
  const std::uint32_t index_;
  bool free_ = true;
};

}  // namespace tpb::stub
