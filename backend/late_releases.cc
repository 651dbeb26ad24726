#include "backend/late_releases.h"

#include <exception>

#include "backend/supervisor/thread.h"
#include "backend/triton_error.h"

namespace tpb::backend {

void ReleaseNow(TRITONBACKEND_Request* request) noexcept {
  LogFailure(triton::Api().TRITONBACKEND_RequestRelease(request, TRITONSERVER_REQUEST_RELEASE_ALL),
             "Failed to release request");
}

LateReleases::~LateReleases() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void LateReleases::Add(TRITONBACKEND_Request* request) noexcept {
  if (!Keep(request)) {
    ReleaseNow(request);
  }
}

// False where there is neither memory nor a thread for it.
bool LateReleases::Keep(TRITONBACKEND_Request* request) noexcept {
  const std::scoped_lock lock(mutex_);
  try {
    entries_.push_back({Clock::now() + delay_, request});
  } catch (const std::exception&) {
    return false;
  }
  if (runs_) {
    return true;
  }
  if (thread_.joinable()) {
    thread_.join();  // it does not take the lock any more
  }
  try {
    thread_ = StartThread("tpb-release", [this] { Run(); });
  } catch (const std::exception&) {
    entries_.pop_back();
    return false;
  }
  runs_ = true;
  return true;
}

void LateReleases::Run() {
  std::unique_lock lock(mutex_);
  while (!entries_.empty()) {
    const Entry next = entries_.front();
    changed_.wait_until(lock, next.due, [this] { return stop_; });
    entries_.pop_front();
    lock.unlock();
    ReleaseNow(next.request);
    lock.lock();
  }
  runs_ = false;
}

}  // namespace tpb::backend
