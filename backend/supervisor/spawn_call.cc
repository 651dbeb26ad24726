#include "backend/supervisor/spawn_call.h"

#include <fcntl.h>

#include <cerrno>
#include <csignal>

#include "ipc/error.h"

namespace tpb::backend {
namespace {

constexpr int kAboveTargets = 10;

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const auto& string : strings) {
    pointers.push_back(const_cast<char*>(string.c_str()));
  }
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

SpawnCall::SpawnCall() {
  ::posix_spawn_file_actions_init(&actions_);
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

SpawnCall::~SpawnCall() {
  ::posix_spawnattr_destroy(&attributes_);
  ::posix_spawn_file_actions_destroy(&actions_);
}

void SpawnCall::OpenNull(int fd, int flags) {
  ::posix_spawn_file_actions_addopen(&actions_, fd, "/dev/null", flags, 0);
}

void SpawnCall::Duplicate(int from, int to) {
  // The copies are made one after the other: from a number that none of them takes, else an earlier one could
  // overwrite the source of a later one. A server may have closed its own 0, 1 and 2.
  ipc::UniqueFd source(::fcntl(from, F_DUPFD_CLOEXEC, kAboveTargets));
  if (!source.valid()) {
    ipc::ThrowErrno("Unable to copy a descriptor for a new process", errno);
  }
  ::posix_spawn_file_actions_adddup2(&actions_, source.get(), to);
  sources_.push_back(std::move(source));
}

pid_t SpawnCall::Run(const std::vector<std::string>& argv, const std::vector<std::string>& environment) {
  const auto arguments = Pointers(argv);
  const auto variables = Pointers(environment);
  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, arguments[0], &actions_, &attributes_, arguments.data(), variables.data());
  sources_.clear();
  if (error != 0) {
    ipc::ThrowErrno("Unable to start '" + argv[0] + "'", error);
  }
  return pid;
}

}  // namespace tpb::backend
