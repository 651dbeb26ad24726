// Other processes, and what this one holds of the kernel: for tests of code that lives in two processes.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace tpb::testing {

// A forked child that runs a function and ends: 0 when it returned, 1 when it threw. It dies with its parent,
// and it is killed and reaped when this object ends. Fork before starting threads.
class Child {
 public:
  explicit Child(const std::function<void()>& body);
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

  void Kill() const;

  // Waits for the end: "exit 0", "exit 1", "signal 11", ...
  std::string Wait();

 private:
  pid_t pid_;
  bool reaped_ = false;
};

// Runs `body` in a forked child and tells how that ended. Faults are the default ones, not a sanitizer's.
std::string RunInChild(const std::function<void()>& body);

// Whether a thread of this process waits in the kernel.
bool IsAsleep(pid_t thread);

// The open descriptors of this process: number -> what it is.
std::map<int, std::string> OpenDescriptors();

// The lines of /proc/self/maps that name a memfd.
std::vector<std::string> MemfdMappings();

// The flags ("rd", "wr", "dd", ...) of the mapping that `address` lies in, from /proc/self/smaps.
std::string MappingFlags(const void* address);

}  // namespace tpb::testing
