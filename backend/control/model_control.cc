#include "backend/control/model_control.h"

#include <cstddef>
#include <utility>

#include "backend/supervisor/thread.h"

namespace tpb::backend::control {
namespace {

constexpr std::size_t kMost = 256;

}  // namespace

ModelControl::~ModelControl() {
  for (Worker& worker : workers_) {
    if (worker.thread.joinable()) {
      worker.thread.join();
    }
  }
}

bool ModelControl::Run(std::function<void()> work) {
  const std::scoped_lock lock(mutex_);
  Reap();
  if (workers_.size() >= kMost) {
    return false;
  }
  Worker& worker = workers_.emplace_back();
  try {
    worker.thread = StartThread("tpb-control", [&worker, work = std::move(work)]() mutable {
      work();
      work = nullptr;  // what it holds ends on this thread
      worker.done.store(true, std::memory_order_release);
    });
  } catch (...) {
    workers_.pop_back();
    throw;
  }
  return true;
}

void ModelControl::Reap() {
  std::erase_if(workers_, [](Worker& worker) {
    const bool done = worker.done.load(std::memory_order_acquire);
    if (done) {
      worker.thread.join();
    }
    return done;
  });
}

}  // namespace tpb::backend::control
