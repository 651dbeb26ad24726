// Whether a model says that it is ready: asks its is_ready() and waits for the answer. The question is a word
// of the control line, which a thread of the stub sleeps on, and the answer an event, so neither needs a
// thread that a request may keep busy.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "ipc/wire.h"

namespace tpb::backend::control {

// One per conversation. Any thread.
class ReadyCheck {
 public:
  // `line` outlives this object.
  explicit ReadyCheck(ipc::ControlLine& line, std::chrono::milliseconds limit = std::chrono::seconds(5))
      : line_(line), limit_(limit) {}

  // Throws ipc::Error unless the model says yes in time. One question is under way at a time; who comes
  // meanwhile waits for its answer. `gone` says that the stub has ended; `instance` is for the text.
  void Ask(const std::string& instance, const std::atomic<bool>& gone);

  // The stub's answer to question `id`. False when that is not the one under way.
  bool Answer(std::uint64_t id, ipc::Readiness answer, std::string_view text);

  // `gone` may have been set.
  void Wake() noexcept;

 private:
  void Start();

  ipc::ControlLine& line_;
  const std::chrono::milliseconds limit_;
  std::mutex mutex_;
  std::condition_variable answered_;
  std::uint32_t question_ = 0;
  bool under_way_ = false;
  ipc::Readiness answer_ = ipc::Readiness::kNotReady;  // to the last question that has one
  std::string text_;
};

}  // namespace tpb::backend::control
