#include "backend/supervisor/stub_process.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include "ipc/peer.h"

namespace tpb::backend {
namespace {

// How often to look where the kernel has no pidfd to sleep on.
constexpr std::chrono::milliseconds kLook{20};

// What was killed ends at once, unless the kernel is busy for it.
constexpr std::chrono::seconds kGroupPatience{1};
constexpr std::chrono::milliseconds kLookForGroup{1};

// 1 = ended, 0 = runs, -1 = somebody else reaped it (a host that ignores SIGCHLD, or waits for everything).
int Look(pid_t pid, siginfo_t& info) noexcept {
  info = {};
  int result = 0;
  do {
    result = ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT);
  } while (result != 0 && errno == EINTR);
  if (result != 0) {
    return -1;
  }
  return info.si_pid == 0 ? 0 : 1;
}

// Whether processes that lose their parent become children of this one, as in a container without an init.
bool AdoptsOrphans() noexcept {
  int subreaper = 0;
  return ::getpid() == 1 || (::prctl(PR_GET_CHILD_SUBREAPER, &subreaper, 0, 0, 0) == 0 && subreaper != 0);
}

// A stub that has been reaped may leave others of its group, killed like it, which nobody else would reap.
// While one is left nothing else gets the group's number.
void ReapGroup(pid_t group) noexcept {
  const auto deadline = ipc::Deadline::After(kGroupPatience);
  while (::killpg(group, 0) == 0 && !deadline.Passed()) {
    if (::waitpid(-group, nullptr, WNOHANG) <= 0) {
      std::this_thread::sleep_for(kLookForGroup);  // one is still ending, or its parent is
    }
  }
}

}  // namespace

StubProcess::StubProcess(pid_t pid) : pid_(pid), pidfd_(ipc::OpenPidfd(pid)) {}

StubProcess::~StubProcess() { End(ipc::Deadline::After(std::chrono::seconds(0))); }

bool StubProcess::Ended() const noexcept {
  siginfo_t info;
  return reaped_ || Look(pid_, info) != 0;
}

void StubProcess::KillGroup() const noexcept {
  siginfo_t info;
  // Once somebody else has reaped the leader its number may be a stranger's: then no signal by number.
  if (!reaped_ && Look(pid_, info) >= 0) {
    ::killpg(pid_, SIGKILL);
  }
}

void StubProcess::Abort() const noexcept {
  siginfo_t info;
  if (!reaped_ && Look(pid_, info) >= 0) {
    ::kill(pid_, SIGABRT);
  }
}

void StubProcess::End(ipc::Deadline deadline) noexcept {
  if (reaped_) {
    return;
  }
  const int pidfd = pidfd_.get();
  while (!Ended() && !deadline.Passed()) {
    if (pidfd >= 0) {
      ipc::WaitReadable(&pidfd, 1, deadline);
    } else {
      std::this_thread::sleep_for(kLook);
    }
  }
  KillGroup();
  int result = 0;
  do {
    result = ::waitpid(pid_, nullptr, 0);
  } while (result < 0 && errno == EINTR);
  reaped_ = true;
  if (AdoptsOrphans()) {
    ReapGroup(pid_);
  }
}

std::string StubProcess::CauseOfEnd() const {
  siginfo_t info;
  if (reaped_ || Look(pid_, info) != 1) {
    return "unknown";
  }
  return (info.si_code == CLD_EXITED ? "exit " : "signal ") + std::to_string(info.si_status);
}

std::string StubProcess::DescribeEnd() const {
  siginfo_t info;
  switch (reaped_ ? -1 : Look(pid_, info)) {
    case 0:
      return "is running";
    case 1:
      break;
    default:
      return "ended, cause unknown (another part of the server's process collected its status)";
  }
  if (info.si_code == CLD_EXITED) {
    return "exited with status " + std::to_string(info.si_status);
  }
  // NOLINTNEXTLINE(concurrency-mt-unsafe): it is only unsafe for numbers that are no signals
  return "was killed by signal " + std::to_string(info.si_status) + " (" + ::strsignal(info.si_status) + ")";
}

}  // namespace tpb::backend
