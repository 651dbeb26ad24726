// One child process and its end. Mechanism only: who decides that it should end is elsewhere.
#pragma once

#include <sys/types.h>

#include <string>

#include "ipc/deadline.h"
#include "ipc/unique_fd.h"

namespace tpb::backend {

class StubProcess {
 public:
  // Takes charge of a child that leads a process group of its own.
  explicit StubProcess(pid_t pid);
  StubProcess(const StubProcess&) = delete;
  StubProcess& operator=(const StubProcess&) = delete;
  StubProcess(StubProcess&&) = delete;
  StubProcess& operator=(StubProcess&&) = delete;

  // Kills and reaps whatever still runs.
  ~StubProcess();

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

  // Readable once the process has ended; -1 where the kernel has no pidfd.
  [[nodiscard]] int pidfd() const noexcept { return pidfd_.get(); }

  // Whether it has ended; does not reap it, so that its number stays its own.
  [[nodiscard]] bool Ended() const noexcept;

  // SIGKILL to the whole group: a model's own workers end with it. Safe from any thread until End() has
  // begun.
  void KillGroup() const noexcept;

  // SIGABRT to the process alone: ours prints the stacks of its threads before it ends, whatever it is busy
  // with. From any thread, as above.
  void Abort() const noexcept;

  // Waits for the process to end by itself until the deadline, then kills its group, and reaps it, and the
  // rest of the group where that falls to this process. Not twice at once.
  void End(ipc::Deadline deadline) noexcept;

  // The same for counting: "exit 1", "signal 9", "unknown".
  [[nodiscard]] std::string CauseOfEnd() const;

  // "exited with status 1", "was killed by signal 9 (Killed)", ...: valid once Ended().
  [[nodiscard]] std::string DescribeEnd() const;

 private:
  const pid_t pid_;
  const ipc::UniqueFd pidfd_;
  bool reaped_ = false;
};

}  // namespace tpb::backend
