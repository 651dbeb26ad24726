// Starts child processes from one thread that lives as long as the backend: a child's PR_SET_PDEATHSIG fires
// when the thread that created it ends, and instances are created on threads that do.
#pragma once

#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "backend/supervisor/placement.h"
#include "ipc/unique_fd.h"

namespace tpb::backend {

// What to run. Values only; nothing happens yet.
struct LaunchPlan {
  std::vector<std::string> argv;  // argv[0] is the absolute path of the program
  std::vector<std::string> environment;
  Placement placement;
  std::optional<std::string> config;  // the model's, for a launcher that prepares its environment

  // The number under which the child finds its socket, the only descriptor beside 0 (nothing), 1 and 2.
  static constexpr int kSocketNumber = 3;
};

// What the child gets copies of.
struct ChildEnds {
  int socket;
  int standard_output;
  int standard_error;
};

class Spawner {
 public:
  Spawner();
  Spawner(const Spawner&) = delete;
  Spawner& operator=(const Spawner&) = delete;
  Spawner(Spawner&&) = delete;
  Spawner& operator=(Spawner&&) = delete;
  ~Spawner();

  // Starts the child in a process group of its own, with an empty signal mask and default dispositions.
  // Throws ipc::Error that names the program.
  pid_t Spawn(const LaunchPlan& plan, const ChildEnds& ends);

 private:
  struct Task {
    const LaunchPlan* plan;
    ChildEnds ends;
    std::promise<pid_t> pid;
  };

  void Run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task*> tasks_;  // owned by the Spawn() calls that wait for them
  bool stop_ = false;
  std::thread thread_;
};

// The environment of this process as it is now; posix_spawn must not read it while a host calls setenv.
std::vector<std::string> SnapshotEnvironment();

}  // namespace tpb::backend
