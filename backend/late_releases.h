// Requests of models that leave, released a moment after their last batch.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "triton_c_api/types.h"

namespace tpb::backend {

// A request keeps its model alive. When the last one goes, core ends the model at once, on another thread,
// and looks for the instance where core's own thread puts it only after the call of Execute has returned:
// what it finds meanwhile is memory that may be somebody else's by now, and the server crashes (seen with
// Triton 2.51).
class LateReleases {
 public:
  // Far more than a thread needs from its return to the next few lines, also where it waits for a processor.
  static constexpr std::chrono::milliseconds kDelay{100};

  explicit LateReleases(std::chrono::milliseconds delay = kDelay) : delay_(delay) {}
  LateReleases(const LateReleases&) = delete;
  LateReleases& operator=(const LateReleases&) = delete;
  LateReleases(LateReleases&&) = delete;
  LateReleases& operator=(LateReleases&&) = delete;

  // Releases what is left.
  ~LateReleases();

  // Released after the delay; at once where there is neither memory nor a thread for that.
  void Add(TRITONBACKEND_Request* request) noexcept;

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    Clock::time_point due;
    TRITONBACKEND_Request* request;
  };

  bool Keep(TRITONBACKEND_Request* request) noexcept;
  void Run();

  const std::chrono::milliseconds delay_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Entry> entries_;
  bool stop_ = false;
  bool runs_ = false;
  std::thread thread_;  // runs while there are entries
};

// Hands a request back to core.
void ReleaseNow(TRITONBACKEND_Request* request) noexcept;

}  // namespace tpb::backend
