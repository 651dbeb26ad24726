#include "stub/fork.h"

#include <pthread.h>

#include <atomic>

#include "ipc/error.h"

namespace tpb::stub {
namespace {

// Forks between the first process of the family and this one. Process-wide, as a fork is.
std::atomic<std::uint64_t> generation{0};  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

void CountFork() { generation.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

Birthplace::Birthplace() {
  static const int failure = ::pthread_atfork(nullptr, nullptr, CountFork);
  if (failure != 0) {
    ipc::ThrowErrno("Unable to watch for forks", failure);
  }
  generation_ = generation.load(std::memory_order_relaxed);
}

bool Birthplace::InForkedChild() const noexcept {
  return generation.load(std::memory_order_relaxed) != generation_;
}

}  // namespace tpb::stub
