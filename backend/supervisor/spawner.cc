#include "backend/supervisor/spawner.h"

#include <fcntl.h>
#include <unistd.h>

#include <exception>

#include "backend/supervisor/spawn_call.h"
#include "backend/supervisor/thread.h"

namespace tpb::backend {
namespace {

pid_t SpawnHere(const LaunchPlan& plan, const ChildEnds& ends) {
  plan.placement.ApplyToThisThread();
  SpawnCall call;
  call.OpenNull(STDIN_FILENO, O_RDONLY);
  call.Duplicate(ends.standard_output, STDOUT_FILENO);
  call.Duplicate(ends.standard_error, STDERR_FILENO);
  call.Duplicate(ends.socket, LaunchPlan::kSocketNumber);
  return call.Run(plan.argv, plan.environment);
}

}  // namespace

Spawner::Spawner() : thread_(StartThread("tpb-spawner", [this] { Run(); })) {}

Spawner::~Spawner() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

pid_t Spawner::Spawn(const LaunchPlan& plan, const ChildEnds& ends) {
  Task task{.plan = &plan, .ends = ends, .pid = {}};
  auto pid = task.pid.get_future();
  {
    const std::scoped_lock lock(mutex_);
    tasks_.push_back(&task);
  }
  wake_.notify_one();
  return pid.get();
}

void Spawner::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
    if (tasks_.empty()) {
      return;
    }
    Task& task = *tasks_.front();
    tasks_.pop_front();
    lock.unlock();
    try {
      task.pid.set_value(SpawnHere(*task.plan, task.ends));
    } catch (...) {
      task.pid.set_exception(std::current_exception());
    }
    lock.lock();
  }
}

std::vector<std::string> SnapshotEnvironment() {
  std::vector<std::string> environment;
  for (char* const* entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    environment.emplace_back(*entry);
  }
  return environment;
}

}  // namespace tpb::backend
