#include "backend/memory_watch.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "backend/conversation.h"
#include "backend/triton_error.h"
#include "ipc/error.h"

namespace tpb::backend {
namespace {

constexpr std::time_t kLookEverySeconds = 1;

ipc::UniqueFd NewTimer() {
  ipc::UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer.valid()) {
    ipc::ThrowErrno("Unable to create a timer for a stub process", errno);
  }
  return timer;
}

}  // namespace

MemoryWatch::MemoryWatch(Conversation& conversation, std::shared_ptr<ipc::Budget> budget, std::string label)
    : conversation_(conversation),
      release_after_(conversation.channel().layout().memory_rules.release_after_seconds),
      budget_(std::move(budget)),
      timer_(NewTimer()),
      inputs_pool_(conversation.arena().usage().pool),
      outputs_pool_(inputs_pool_),
      label_(std::move(label)) {
  ChargeOutputs(outputs_pool_);
}

MemoryWatch::~MemoryWatch() { ChargeOutputs(0); }

// Look() first disarms and then reads what is used, under mutexes that the user has held before it comes
// here: either that is seen, or `armed_` is false here.
void MemoryWatch::Touch() noexcept {
  if (!armed_.load(std::memory_order_relaxed)) {
    Arm();
  }
}

void MemoryWatch::Arm() noexcept {
  armed_.store(true, std::memory_order_relaxed);
  const itimerspec once{.it_interval = {}, .it_value = {.tv_sec = kLookEverySeconds, .tv_nsec = 0}};
  ::timerfd_settime(timer_.get(), 0, &once, nullptr);
}

void MemoryWatch::Look() noexcept {
  std::uint64_t expired = 0;
  static_cast<void>(::read(timer_.get(), &expired, sizeof(expired)));
  armed_.store(false, std::memory_order_relaxed);
  try {
    const ipc::Arena& arena = conversation_.arena();
    const std::uint64_t changes = arena.usage().changes;
    const auto now = Clock::now();
    if (std::exchange(changes_seen_, changes) != changes) {
      quiet_since_ = now;
    } else if (now - quiet_since_ >= release_after_) {
      GiveBack();
    }
    Show(Numbers());
    if (release_after_.count() != 0 && arena.HasToGiveBack()) {
      Arm();
    }
  } catch (const std::exception& error) {
    Log(TRITONSERVER_LOG_ERROR, __FILE__, __LINE__,
        std::string("unable to look after shared memory: ") + error.what());
  }
}

void MemoryWatch::GiveBack() {
  if (release_after_.count() == 0) {
    return;
  }
  if (const auto error = conversation_.arena().GiveBack()) {
    Log(TRITONSERVER_LOG_VERBOSE, __FILE__, __LINE__,
        std::string("shared memory stays with the server: this kernel cannot take it back: ") +
            std::generic_category().message(*error));
  }
}

ChannelNumbers MemoryWatch::Numbers() const {
  const auto inputs = conversation_.arena().usage();
  const auto outputs = conversation_.channel().StubUsage();
  return {.inputs_used = inputs.used,
          .inputs_pool = inputs.pool,
          .outputs_used = outputs.used,
          .outputs_pool = outputs.pool,
          .kept_inputs = conversation_.leases().kept_bytes(),
          .resident = conversation_.arena().ResidentBytes(),
          .requests = conversation_.responders().InFlight()};
}

// The stub takes what it needs, up to its own limit, and tells afterwards.
void MemoryWatch::ChargeOutputs(std::uint64_t pool) noexcept {
  if (budget_) {
    budget_->Charge(pool);
    budget_->Return(outputs_charged_);
    outputs_charged_ = pool;
  }
}

void MemoryWatch::Show(const ChannelNumbers& numbers) {
  ChargeOutputs(numbers.outputs_pool);
  const std::scoped_lock lock(mutex_);
  ReportPool("inputs", inputs_pool_, numbers.inputs_pool);
  ReportPool("outputs", outputs_pool_, numbers.outputs_pool);
  const std::uint64_t resident = std::exchange(resident_, numbers.resident);
  if (!metrics_) {
    return;
  }
  metrics_->Show(numbers);
  if (numbers.resident < resident) {
    of_instance_->GaveBack(resident - numbers.resident);
  }
  const std::uint64_t dropped = conversation_.dropped();
  if (dropped != dropped_) {
    of_instance_->Dropped(dropped - std::exchange(dropped_, dropped));
  }
}

void MemoryWatch::ReportPool(const char* what, std::uint64_t& known, std::uint64_t pool) {
  if (pool != known) {
    Log(TRITONSERVER_LOG_VERBOSE, __FILE__, __LINE__,
        "shared memory pool of '" + label_ + "' for " + what + (pool > known ? " grew to " : " fell to ") +
            std::to_string(pool) + " bytes");
    known = pool;
  }
}

void MemoryWatch::ShowTo(std::unique_ptr<ChannelMetrics> metrics,
                         std::shared_ptr<InstanceMetrics> of_instance) {
  {
    const std::scoped_lock lock(mutex_);
    metrics_ = std::move(metrics);
    metrics_->Show(Numbers());
    of_instance_ = std::move(of_instance);
    label_ = of_instance_->labels().instance;
  }
  Touch();
}

}  // namespace tpb::backend
