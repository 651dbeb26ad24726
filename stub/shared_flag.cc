#include "stub/shared_flag.h"

#include <sys/mman.h>

#include <cerrno>

#include "ipc/error.h"

namespace tpb::stub {
namespace {

// Less than a page: the kernel rounds up.
constexpr std::size_t kSize = sizeof(std::atomic<std::uint32_t>);

std::atomic<std::uint32_t>* MapWord() {
  void* address = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) {
    ipc::ThrowErrno("Unable to map memory that forked children share", errno);
  }
  return static_cast<std::atomic<std::uint32_t>*>(address);  // zeros: off
}

}  // namespace

SharedFlag::SharedFlag() : word_(MapWord()) {}

SharedFlag::~SharedFlag() { ::munmap(word_, kSize); }

}  // namespace tpb::stub
