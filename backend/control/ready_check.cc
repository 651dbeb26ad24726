#include "backend/control/ready_check.h"

#include "ipc/error.h"
#include "ipc/futex.h"

namespace tpb::backend::control {

using ipc::Code;
using ipc::Error;

// Under the mutex.
void ReadyCheck::Start() {
  under_way_ = true;
  ++question_;
  // The stub's thread loads it, and sleeps only while it has not changed.
  line_.ready_question.store(question_, std::memory_order_release);
  ipc::FutexWakeAll(line_.ready_question);
}

void ReadyCheck::Ask(const std::string& instance, const std::atomic<bool>& gone) {
  std::unique_lock lock(mutex_);
  const bool joined = under_way_;
  if (!joined) {
    Start();
  }
  // One that is late stays under way, and the next to ask gets its answer.
  const std::uint32_t question = question_;
  const auto over = [&] { return !under_way_ || question_ != question; };
  const bool woken =
      answered_.wait_for(lock, limit_, [&] { return over() || gone.load(std::memory_order_acquire); });
  if (!woken) {
    throw Error(Code::kUnavailable, joined ? "Timed out waiting for in-flight is_ready() response"
                                           : "Timed out waiting for user-defined is_ready() response");
  }
  if (!over()) {
    throw Error(Code::kInternal,
                "Stub process is not healthy while waiting for user-defined is_ready() response");
  }
  if (answer_ == ipc::Readiness::kFailed) {
    throw Error(Code::kInternal, text_);
  }
  if (answer_ == ipc::Readiness::kNotReady) {
    throw Error(Code::kUnavailable, "Model '" + instance + "' is not ready (user-defined check failed).");
  }
}

bool ReadyCheck::Answer(std::uint64_t id, ipc::Readiness answer, std::string_view text) {
  {
    const std::scoped_lock lock(mutex_);
    if (!under_way_ || id != question_) {
      return false;
    }
    under_way_ = false;
    answer_ = answer;
    text_ = text;
  }
  answered_.notify_all();
  return true;
}

void ReadyCheck::Wake() noexcept {
  {
    const std::scoped_lock lock(mutex_);
  }
  answered_.notify_all();
}

}  // namespace tpb::backend::control
