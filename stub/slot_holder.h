// A call slot, for one question to the server.
#pragma once

#include <cstdint>

#include "stub/connection.h"

namespace tpb::stub {

class SlotHolder {
 public:
  // Waits while all are in use; without the GIL.
  explicit SlotHolder(Connection& connection);
  SlotHolder(const SlotHolder&) = delete;
  SlotHolder& operator=(const SlotHolder&) = delete;
  SlotHolder(SlotHolder&&) = delete;
  SlotHolder& operator=(SlotHolder&&) = delete;
  // A slot without an answer may still get one: it is never used again.
  ~SlotHolder();

  [[nodiscard]] std::uint32_t index() const noexcept { return index_; }
  void SetAnswered() noexcept { answered_ = true; }

 private:
  Connection& connection_;
  const std::uint32_t index_;
  bool answered_ = false;
};

}  // namespace tpb::stub
