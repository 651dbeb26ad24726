#include "backend/supervisor/spawner.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <exception>

#include "backend/supervisor/thread.h"
#include "ipc/error.h"

namespace tpb::backend {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const auto& string : strings) {
    pointers.push_back(const_cast<char*>(string.c_str()));
  }
  pointers.push_back(nullptr);
  return pointers;
}

class FileActions {
 public:
  explicit FileActions(int socket) {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    // Exactly one descriptor is inherited, so no later action can overwrite an earlier one's source.
    ::posix_spawn_file_actions_adddup2(&actions_, socket, LaunchPlan::kSocketNumber);
  }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  FileActions(FileActions&&) = delete;
  FileActions& operator=(FileActions&&) = delete;
  ~FileActions() { ::posix_spawn_file_actions_destroy(&actions_); }

  [[nodiscard]] const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

class Attributes {
 public:
  Attributes() {
    ::posix_spawnattr_init(&attributes_);
    sigset_t set;
    ::sigemptyset(&set);
    ::posix_spawnattr_setsigmask(&attributes_, &set);
    ::sigfillset(&set);
    ::posix_spawnattr_setsigdefault(&attributes_, &set);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(&attributes_,
                               POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  Attributes(Attributes&&) = delete;
  Attributes& operator=(Attributes&&) = delete;
  ~Attributes() { ::posix_spawnattr_destroy(&attributes_); }

  [[nodiscard]] const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

pid_t SpawnHere(const LaunchPlan& plan, int socket) {
  plan.placement.ApplyToThisThread();
  const FileActions actions(socket);
  const Attributes attributes;
  const auto argv = Pointers(plan.argv);
  const auto environment = Pointers(plan.environment);
  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, argv[0], actions.get(), attributes.get(), argv.data(), environment.data());
  if (error != 0) {
    ipc::ThrowErrno("Unable to start the stub process '" + plan.argv[0] + "'", error);
  }
  return pid;
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

pid_t Spawner::Spawn(const LaunchPlan& plan, int socket) {
  Task task{.plan = &plan, .socket = socket, .pid = {}};
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
      task.pid.set_value(SpawnHere(*task.plan, task.socket));
    } catch (...) {
      task.pid.set_exception(std::current_exception());
    }
    lock.lock();
  }
}

std::vector<std::string> SnapshotEnvironment() {
  std::vector<std::string> environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    environment.emplace_back(*entry);
  }
  return environment;
}

}  // namespace tpb::backend
