#include "backend/supervisor/placement.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace tpb::backend {
namespace {

constexpr unsigned long kNodeBits = 16 * sizeof(unsigned long) * 8;

}  // namespace

Placement Placement::OfThisThread() {
  Placement placement;
  CPU_ZERO(&placement.cpus);
  ::sched_getaffinity(0, sizeof(placement.cpus), &placement.cpus);
  // No libnuma for two system calls; a kernel without NUMA refuses both, and the default stays.
  ::syscall(SYS_get_mempolicy, &placement.memory_mode, placement.memory_nodes.data(), kNodeBits, nullptr, 0);
  return placement;
}

void Placement::ApplyToThisThread() const noexcept {
  ::sched_setaffinity(0, sizeof(cpus), &cpus);
  ::syscall(SYS_set_mempolicy, memory_mode, memory_mode == 0 ? nullptr : memory_nodes.data(),
            memory_mode == 0 ? 0 : kNodeBits);
}

bool Placement::operator==(const Placement& other) const noexcept {
  return CPU_EQUAL(&cpus, &other.cpus) != 0 && memory_mode == other.memory_mode &&
         memory_nodes == other.memory_nodes;
}

}  // namespace tpb::backend
