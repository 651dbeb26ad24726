// "Until when", handed down through calls that wait, so that nothing waits on a bare number of milliseconds.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

namespace tpb::ipc {

class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  static Deadline Never() { return Deadline(std::nullopt); }
  static Deadline After(Clock::duration duration) { return Deadline(Clock::now() + duration); }

  [[nodiscard]] bool Passed() const { return when_ && Clock::now() >= *when_; }

  // The time left, but at most `limit`; never negative.
  [[nodiscard]] Clock::duration Left(Clock::duration limit) const {
    if (!when_) {
      return limit;
    }
    return std::clamp(*when_ - Clock::now(), Clock::duration::zero(), limit);
  }

 private:
  explicit Deadline(std::optional<Clock::time_point> when) : when_(when) {}

  std::optional<Clock::time_point> when_;
};

}  // namespace tpb::ipc
