// Where a stub may run: CPU affinity and memory policy. Core sets an instance's host policy on the thread
// that creates the instance; a child inherits it only from the thread that spawns it, which is another one.
#pragma once

#include <sched.h>

#include <array>

namespace tpb::backend {

struct Placement {
  // Of the calling thread.
  static Placement OfThisThread();

  // Makes it the calling thread's. What the kernel refuses stays as it is.
  void ApplyToThisThread() const noexcept;

  bool operator==(const Placement& other) const noexcept;

  cpu_set_t cpus{};
  int memory_mode = 0;  // MPOL_DEFAULT
  std::array<unsigned long, 16> memory_nodes{};
};

}  // namespace tpb::backend
