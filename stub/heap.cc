#include "stub/heap.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <string_view>

namespace tpb::stub {
namespace {

// Blocks of up to this size come from the heap and go back to it. glibc before 2.35 takes no more than the
// second.
constexpr int kLargest = 1 << 30;
constexpr int kLargestOfOldGlibc = 32 << 20;

// Process-wide, as the heap is.
std::atomic<bool> keeps{false};  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

// Before the first thread of the model.
// NOLINTBEGIN(concurrency-mt-unsafe)
bool OperatorDecides() noexcept {
  for (const char* name : {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"}) {
    if (std::getenv(name) != nullptr) {
      return true;
    }
  }
  const char* tunables = std::getenv("GLIBC_TUNABLES");
  return tunables != nullptr && std::string_view(tunables).find("glibc.malloc.") != std::string_view::npos;
}

}  // namespace

void KeepHeap() noexcept {
  if (OperatorDecides()) {
    return;
  }
  if (::mallopt(M_MMAP_THRESHOLD, kLargest) == 0 && ::mallopt(M_MMAP_THRESHOLD, kLargestOfOldGlibc) == 0) {
    return;  // another allocator, with rules of its own
  }
  keeps = ::mallopt(M_TRIM_THRESHOLD, kLargest) != 0;
}
// NOLINTEND(concurrency-mt-unsafe)

void TrimHeap() noexcept {
  if (keeps) {
    ::malloc_trim(0);
  }
}

}  // namespace tpb::stub
