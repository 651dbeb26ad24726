// One call of posix_spawn. Not fork: a host that uses gRPC aborts when it forks.
#pragma once

#include <spawn.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "ipc/unique_fd.h"

namespace tpb::backend {

// The child leads a process group of its own, with an empty signal mask and default dispositions.
class SpawnCall {
 public:
  SpawnCall();
  SpawnCall(const SpawnCall&) = delete;
  SpawnCall& operator=(const SpawnCall&) = delete;
  SpawnCall(SpawnCall&&) = delete;
  SpawnCall& operator=(SpawnCall&&) = delete;
  ~SpawnCall();

  // In the child: `fd` is /dev/null, opened with `flags`.
  void OpenNull(int fd, int flags);

  // In the child: `to`, at most 9, is a copy of `from`.
  void Duplicate(int from, int to);

  // Starts argv[0], an absolute path; once. Throws ipc::Error that names it.
  pid_t Run(const std::vector<std::string>& argv, const std::vector<std::string>& environment);

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
  std::vector<ipc::UniqueFd> sources_;  // of the copies; until the child has them
};

}  // namespace tpb::backend
