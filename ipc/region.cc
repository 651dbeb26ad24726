#include "ipc/region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <limits>

#include "ipc/error.h"
#include "ipc/memfd.h"

namespace tpb::ipc {
namespace {

constexpr std::uint64_t kDefaultAtMost = std::uint64_t{64} << 30;

constexpr unsigned kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

std::byte* Map(int fd, std::uint64_t size) {
  void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (address == MAP_FAILED) {
    ThrowErrno("Unable to map " + std::to_string(size) + " bytes of shared memory", errno);
  }
  // A core dump would otherwise read, and so allocate, every hole of the sparse file.
  ::madvise(address, size, MADV_DONTDUMP);
  return static_cast<std::byte*>(address);
}

std::uint64_t ReadNumber(const char* path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  return file >> value ? value : std::numeric_limits<std::uint64_t>::max();
}

std::uint64_t UsableMemory() {
  const auto pages = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES));
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return std::min({pages * page, ReadNumber("/sys/fs/cgroup/memory.max"),
                   ReadNumber("/sys/fs/cgroup/memory/memory.limit_in_bytes")});
}

std::uint64_t SoftLimit(__rlimit_resource resource) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return std::numeric_limits<std::uint64_t>::max();
  }
  return limit.rlim_cur;
}

}  // namespace

std::shared_ptr<Region> Region::Create(const std::string& name, std::uint64_t size,
                                       std::uint64_t read_only_from) {
  UniqueFd memfd = OpenMemfd(name);
  if (::ftruncate(memfd.get(), static_cast<off_t>(size)) != 0) {
    ThrowErrno("Unable to give shared memory '" + name + "' its size of " + std::to_string(size) + " bytes",
               errno);
  }
  if (::fcntl(memfd.get(), F_ADD_SEALS, kSeals) != 0) {
    ThrowErrno("Unable to seal shared memory '" + name + "'", errno);
  }
  std::byte* data = Map(memfd.get(), size);
  std::shared_ptr<Region> region(new Region(std::move(memfd), data, size));
  if (read_only_from < size && ::mprotect(data + read_only_from, size - read_only_from, PROT_READ) != 0) {
    ThrowErrno("Unable to protect shared memory '" + name + "'", errno);
  }
  return region;
}

std::shared_ptr<Region> Region::Attach(UniqueFd memfd, std::uint64_t size) {
  struct stat status{};
  if (::fstat(memfd.get(), &status) != 0) {
    ThrowErrno("Unable to inspect the shared memory received from the server", errno);
  }
  if (static_cast<std::uint64_t>(status.st_size) != size) {
    throw ProtocolError("the shared memory received has " + std::to_string(status.st_size) +
                        " bytes, expected " + std::to_string(size));
  }
  const int seals = ::fcntl(memfd.get(), F_GET_SEALS);
  if (seals < 0 || (static_cast<unsigned>(seals) & kSeals) != kSeals) {
    throw ProtocolError("the shared memory received is not sealed");
  }
  std::byte* data = Map(memfd.get(), size);
  return std::shared_ptr<Region>(new Region(std::move(memfd), data, size));
}

int Region::PunchHole(std::uint64_t offset, std::uint64_t size) const noexcept {
  const int done = ::fallocate(memfd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                               static_cast<off_t>(offset), static_cast<off_t>(size));
  return done == 0 ? 0 : errno;
}

std::uint64_t Region::ResidentBytes() const noexcept {
  constexpr std::uint64_t kBlock = 512;  // of st_blocks, whatever the file system
  struct stat status{};
  return ::fstat(memfd_.get(), &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * kBlock : 0;
}

Region::~Region() { ::munmap(data_, size_); }

std::uint64_t RegionSizeLimit(std::uint64_t wanted) {
  const std::uint64_t limit = wanted != 0 ? wanted : std::min(UsableMemory(), kDefaultAtMost);
  return std::min({limit, SoftLimit(RLIMIT_FSIZE), SoftLimit(RLIMIT_AS) / 2});
}

}  // namespace tpb::ipc
