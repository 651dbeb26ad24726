// Looks after the memory of one channel: shows what it takes, and gives it back to the kernel after a quiet
// time. What else is counted there is shown on the way.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "backend/channel_metrics.h"
#include "backend/instance_metrics.h"
#include "ipc/budget.h"
#include "ipc/unique_fd.h"

namespace tpb::backend {

class Conversation;

// Works on the service thread, by a timer that runs only while something changes or waits to be given back.
class MemoryWatch {
 public:
  // `conversation` outlives it. What the stub takes is charged to `budget`, shared by all stubs, or null.
  // `label` is for messages.
  MemoryWatch(Conversation& conversation, std::shared_ptr<ipc::Budget> budget, std::string label);
  MemoryWatch(const MemoryWatch&) = delete;
  MemoryWatch& operator=(const MemoryWatch&) = delete;
  MemoryWatch(MemoryWatch&&) = delete;
  MemoryWatch& operator=(MemoryWatch&&) = delete;
  ~MemoryWatch();

  // Readable when Look() is due.
  [[nodiscard]] int timerfd() const noexcept { return timer_.get(); }

  // The channel has been used. Any thread, after the use; costs a load, and a system call once a second.
  void Touch() noexcept;

  // Service thread.
  void Look() noexcept;

  // From now on an instance has the channel, and its metrics show what it takes. Any thread.
  void ShowTo(std::unique_ptr<ChannelMetrics> metrics, std::shared_ptr<InstanceMetrics> of_instance);

 private:
  using Clock = std::chrono::steady_clock;

  void Arm() noexcept;
  void Show(const ChannelNumbers& numbers);
  void ChargeOutputs(std::uint64_t pool) noexcept;
  void ReportPool(const char* what, std::uint64_t& known, std::uint64_t pool);
  void GiveBack();
  [[nodiscard]] ChannelNumbers Numbers() const;

  Conversation& conversation_;
  const std::chrono::seconds release_after_;
  const std::shared_ptr<ipc::Budget> budget_;
  const ipc::UniqueFd timer_;
  std::atomic<bool> armed_{false};

  // The service thread's own.
  std::uint64_t changes_seen_ = 0;
  Clock::time_point quiet_since_ = Clock::now();
  std::uint64_t inputs_pool_;
  std::uint64_t outputs_pool_;
  std::uint64_t outputs_charged_ = 0;

  std::mutex mutex_;
  std::unique_ptr<ChannelMetrics>
      metrics_;  // under mutex_, like the next ones; null before an instance has it
  std::shared_ptr<InstanceMetrics> of_instance_;
  std::string label_;
  std::uint64_t resident_ = 0;
  std::uint64_t dropped_ = 0;
};

}  // namespace tpb::backend
