#include "benchmarks/generator/processes.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

namespace tpb::bench {
namespace {

struct Status {
  char state = '?';
  pid_t parent = 0;
};

// The two fields after the program's name, which may hold spaces and parentheses itself.
std::optional<Status> ReadStatus(const std::filesystem::path& stat) {
  std::ifstream file(stat);
  std::string text;
  if (!std::getline(file, text)) {
    return std::nullopt;  // it has ended in the meantime
  }
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos || name_end + 4 >= text.size()) {
    return std::nullopt;
  }
  Status status{.state = text[name_end + 2], .parent = 0};
  std::from_chars(text.data() + name_end + 4, text.data() + text.size(), status.parent);
  return status;
}

std::optional<pid_t> Number(const std::filesystem::path& entry) {
  const std::string name = entry.filename().string();
  pid_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc{} || end != name.data() + name.size()) {
    return std::nullopt;
  }
  return number;
}

std::map<pid_t, Status> Processes() {
  std::map<pid_t, Status> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const auto pid = Number(entry.path());
    if (!pid) {
      continue;
    }
    if (const auto status = ReadStatus(entry.path() / "stat")) {
      found.emplace(*pid, *status);
    }
  }
  return found;
}

bool Descends(const std::map<pid_t, Status>& processes, pid_t pid, pid_t from) {
  while (true) {
    const auto found = processes.find(pid);
    if (found == processes.end() || found->second.parent == 0) {
      return false;
    }
    pid = found->second.parent;
    if (pid == from) {
      return true;
    }
  }
}

std::chrono::nanoseconds Read(clockid_t clock) {
  timespec time{};
  if (clock_gettime(clock, &time) != 0) {
    return {};  // the process has ended
  }
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

std::vector<pid_t> Descendants() {
  const auto processes = Processes();
  std::vector<pid_t> found;
  for (const auto& [pid, status] : processes) {
    if (Descends(processes, pid, getpid())) {
      found.push_back(pid);
    }
  }
  return found;
}

bool OtherThreadsSleep() {
  const auto self = static_cast<pid_t>(syscall(SYS_gettid));
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::ranges::all_of(tasks, [self](const auto& task) {
    const auto status = ReadStatus(task.path() / "stat");
    return Number(task.path()) == self || !status || status->state == 'S';
  });
}

CpuTimes CpuTimesNow() {
  CpuTimes times{{getpid(), Read(CLOCK_PROCESS_CPUTIME_ID)}};
  for (const pid_t pid : Descendants()) {
    clockid_t clock = 0;
    if (clock_getcpuclockid(pid, &clock) == 0) {
      times.emplace(pid, Read(clock));
    }
  }
  return times;
}

std::chrono::nanoseconds CpuUsed(const CpuTimes& before, const CpuTimes& after) {
  std::chrono::nanoseconds used{};
  for (const auto& [pid, time] : after) {
    const auto earlier = before.find(pid);
    used += time - (earlier == before.end() ? std::chrono::nanoseconds{} : earlier->second);
  }
  return used;
}

std::chrono::nanoseconds ThreadCpuTime() { return Read(CLOCK_THREAD_CPUTIME_ID); }

}  // namespace tpb::bench
