// A switch that the processes forked from this one see turn, too.
#pragma once

#include <atomic>
#include <cstdint>

namespace tpb::stub {

// Any thread, and any forked child of the process that made it.
class SharedFlag {
 public:
  SharedFlag();
  SharedFlag(const SharedFlag&) = delete;
  SharedFlag& operator=(const SharedFlag&) = delete;
  SharedFlag(SharedFlag&&) = delete;
  SharedFlag& operator=(SharedFlag&&) = delete;
  ~SharedFlag();

  [[nodiscard]] bool is_on() const noexcept { return word_->load(std::memory_order_relaxed) != 0; }
  void Turn(bool on) noexcept { word_->store(on ? 1 : 0, std::memory_order_relaxed); }

 private:
  std::atomic<std::uint32_t>* const word_;  // a page of its own, which a fork shares
};

}  // namespace tpb::stub
