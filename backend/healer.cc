#include "backend/healer.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "backend/supervisor/thread.h"

namespace tpb::backend {
namespace {

using std::chrono::duration_cast;
using std::chrono::seconds;

ipc::UniqueFd MakeEvent() {
  ipc::UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) {
    ipc::ThrowErrno("Unable to create an event for restarting a stub", errno);
  }
  return event;
}

}  // namespace

Healer::Healer(std::string instance, const HealingPolicy& policy, Callbacks callbacks)
    : instance_(std::move(instance)),
      policy_(policy),
      callbacks_(std::move(callbacks)),
      interrupt_(MakeEvent()) {}

void Healer::Begin(std::shared_ptr<Generation> first) {
  current_ = std::move(first);
  callbacks_.changed(true);
  thread_ = StartThread("tpb-healer", [this] { Run(); });
}

void Healer::Notice() noexcept {
  const std::scoped_lock lock(mutex_);
  changed_.notify_all();
}

std::shared_ptr<Generation> Healer::Current() const {
  const std::scoped_lock lock(mutex_);
  return current_ && !current_->gone() ? current_ : nullptr;
}

std::shared_ptr<Generation> Healer::Await() {
  std::unique_lock lock(mutex_);
  const auto until = Clock::now() + policy_.hold;
  while (true) {
    if (current_ && !current_->gone()) {
      return current_;
    }
    const bool hopeless =
        stop_ || unwanted_ || !policy_.restart || (open_until_ && !callbacks_.sibling_serves());
    if (hopeless || Clock::now() >= until) {
      throw Unavailable();
    }
    changed_.wait_until(lock, until);
  }
}

ipc::Error Healer::WhyNone() const {
  const std::scoped_lock lock(mutex_);
  std::string text = "Stub process '" + instance_ + "' is not healthy.";
  if (!last_failure_.empty()) {
    text += " " + last_failure_;
  }
  if (policy_.restart && !stop_ && !unwanted_) {
    text += open_until_ ? " It died too often: the next try is later." : " A new one is being started.";
  }
  return {ipc::Code::kInternal, text};
}

std::shared_ptr<Generation> Healer::Stop() noexcept {
  std::shared_ptr<Generation> starting;
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
    starting = starting_;
    changed_.notify_all();
  }
  const std::uint64_t one = 1;
  static_cast<void>(::write(interrupt_.get(), &one, sizeof(one)));
  if (starting) {
    starting->Condemn("its instance is being unloaded");
    starting.reset();
  }
  if (thread_.joinable()) {
    thread_.join();
  }
  return Current();
}

std::uint64_t Healer::restarts() const {
  const std::scoped_lock lock(mutex_);
  return restarts_;
}

void Healer::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || !current_ || current_->gone(); });
    if (stop_) {
      return;
    }
    if (current_) {
      Mourn(lock);
    }
    if (!policy_.restart || !Pause(lock, NextPause()) || !StillWanted(lock)) {
      return;
    }
    if (auto next = StartNext(lock)) {
      current_ = std::move(next);
      ++restarts_;
      changed_.notify_all();
      callbacks_.changed(true);
    }
  }
}

// The current generation has died: what it held is given back before the next one needs it.
void Healer::Mourn(std::unique_lock<std::mutex>& lock) {
  std::shared_ptr<Generation> dead = std::exchange(current_, nullptr);
  callbacks_.changed(false);
  lock.unlock();
  const std::string how = dead->Epitaph();
  const std::string cause = dead->Cause();
  lock.lock();
  EndUnlocked(std::move(dead), lock);
  CountDeath(how, cause);
}

// A generation calls Notice() as it ends, perhaps on a thread that its end waits for.
void Healer::EndUnlocked(std::shared_ptr<Generation> generation, std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  generation.reset();
  lock.lock();
}

void Healer::CountDeath(const std::string& how, const std::string& cause) {
  callbacks_.died(cause);
  last_failure_ = how;
  const auto now = Clock::now();
  while (!deaths_.empty() && deaths_.front() + policy_.window < now) {
    deaths_.pop_front();
    half_open_ = false;
  }
  deaths_.push_back(now);
  if (policy_.restart && (half_open_ || deaths_.size() >= static_cast<std::size_t>(policy_.max_deaths))) {
    half_open_ = true;
    open_until_ = now + policy_.open;
    callbacks_.complain("'" + instance_ + "' is not started anew for " +
                        std::to_string(duration_cast<seconds>(policy_.open).count()) +
                        " s: its process died " + std::to_string(deaths_.size()) + " times within " +
                        std::to_string(duration_cast<seconds>(policy_.window).count()) +
                        " s, and requests are refused meanwhile. The last time: " + how);
    changed_.notify_all();
  }
}

Healer::Clock::duration Healer::NextPause() const {
  if (open_until_) {
    return std::max(*open_until_ - Clock::now(), Clock::duration::zero());
  }
  Clock::duration pause = Clock::duration::zero();
  for (std::size_t died = 1; died < deaths_.size(); ++died) {
    pause = std::min<Clock::duration>(died == 1 ? policy_.first_pause : pause * 2, policy_.longest_pause);
  }
  return pause;
}

// False when there is no point in going on.
bool Healer::Pause(std::unique_lock<std::mutex>& lock, Clock::duration duration) {
  const auto until = Clock::now() + duration;
  changed_.wait_until(lock, until, [this, until] { return stop_ || Clock::now() >= until; });
  open_until_.reset();
  return !stop_;
}

// Core may wait for requests to end before it unloads the model, and has nobody else to tell.
bool Healer::StillWanted(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  const bool wanted = callbacks_.wanted();
  lock.lock();
  unwanted_ = !wanted;
  changed_.notify_all();
  return wanted && !stop_;
}

// Nothing when it did not come up, which counts as a death.
std::shared_ptr<Generation> Healer::StartNext(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  std::string failure;
  std::shared_ptr<Generation> next;
  try {
    callbacks_.tell("starting a new stub process for '" + instance_ + "'");
    next = callbacks_.spawn(interrupt_.get());
    lock.lock();
    starting_ = next;
    const bool stop = stop_;
    lock.unlock();
    if (!stop) {
      next->Initialize();
    }
  } catch (const std::exception& error) {
    failure = error.what();
  }
  lock.lock();
  starting_.reset();
  if (stop_ || !failure.empty()) {
    EndUnlocked(std::move(next), lock);
    if (!stop_) {
      callbacks_.complain("the new stub process for '" + instance_ + "' did not come up: " + failure);
      CountDeath("It did not come up: " + failure + (failure.ends_with('.') ? "" : "."), "start");
    }
    return nullptr;
  }
  return next;
}

ipc::Error Healer::Unavailable() const {
  std::string text = "Stub process '" + instance_ + "' is not healthy.";
  if (!last_failure_.empty()) {
    text += " " + last_failure_;
  }
  if (open_until_) {
    const auto left = std::max(*open_until_ - Clock::now(), Clock::duration::zero());
    text += " That was " + std::to_string(deaths_.size()) + " times within " +
            std::to_string(duration_cast<seconds>(policy_.window).count()) + " s: the next try is in " +
            std::to_string(duration_cast<seconds>(left).count() + 1) + " s";
  } else if (unwanted_) {
    text += " The model is being unloaded.";
  } else if (policy_.restart && !stop_) {
    text += " A new one is being started, and did not come up within " +
            std::to_string(duration_cast<seconds>(policy_.hold).count()) + " s";
  }
  return {ipc::Code::kUnavailable, text};
}

}  // namespace tpb::backend
