// What several arenas together may take. Any thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace tpb::ipc {

class Budget {
 public:
  // 0: there is no limit.
  explicit Budget(std::uint64_t limit) noexcept : limit_(limit) {}

  // False when that would be too much; then nothing is taken.
  [[nodiscard]] bool Take(std::uint64_t bytes) noexcept {
    const std::uint64_t before = taken_.fetch_add(bytes, std::memory_order_relaxed);
    if (limit_ != 0 && (before > limit_ || bytes > limit_ - before)) {
      Return(bytes);
      return false;
    }
    return true;
  }

  // Has been taken already, be it too much.
  void Charge(std::uint64_t bytes) noexcept { taken_.fetch_add(bytes, std::memory_order_relaxed); }

  void Return(std::uint64_t bytes) noexcept { taken_.fetch_sub(bytes, std::memory_order_relaxed); }

  [[nodiscard]] std::uint64_t limit() const noexcept { return limit_; }
  [[nodiscard]] std::uint64_t taken() const noexcept { return taken_.load(std::memory_order_relaxed); }

 private:
  const std::uint64_t limit_;
  std::atomic<std::uint64_t> taken_{0};
};

}  // namespace tpb::ipc
