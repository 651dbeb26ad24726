// Threads for what a model asks of the server and core takes its time for: loads, unloads, and whether a
// model is ready, which newer cores ask that model itself.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <mutex>
#include <thread>

namespace tpb::backend::control {

// One per backend, for all of its stubs.
class ModelControl {
 public:
  ModelControl() = default;
  ModelControl(const ModelControl&) = delete;
  ModelControl& operator=(const ModelControl&) = delete;
  ModelControl(ModelControl&&) = delete;
  ModelControl& operator=(ModelControl&&) = delete;
  // Waits for what still runs.
  ~ModelControl();

  // Runs `work`, which throws nothing, on a thread of its own. False, and nothing done, when too many run
  // already. Any thread; never waits.
  bool Run(std::function<void()> work);

 private:
  struct Worker {
    std::thread thread;
    std::atomic<bool> done{false};
  };

  void Reap();  // under mutex_

  std::mutex mutex_;
  std::list<Worker> workers_;
};

}  // namespace tpb::backend::control
