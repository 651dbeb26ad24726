#include "ipc/region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>

#include "ipc/error.h"
#include "ipc/unique_fd.h"
#include "tests/cpp/check.h"
#include "tests/cpp/process.h"

namespace tpb {
namespace {

using ipc::ProtocolError;
using ipc::Region;
using ipc::UniqueFd;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kSize = 16 * kPage;

UniqueFd Duplicate(int fd) { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

void SetLimit(__rlimit_resource resource, rlim_t soft) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0) {
    throw std::system_error(errno, std::generic_category(), "getrlimit");
  }
  limit.rlim_cur = soft;
  if (::setrlimit(resource, &limit) != 0) {
    throw std::system_error(errno, std::generic_category(), "setrlimit");
  }
}

TEST(Region, IsSharedWithWhoeverAttaches) {
  const auto ours = Region::Create("tpb-test-region", kSize, kSize);
  const auto theirs = Region::Attach(Duplicate(ours->fd()), kSize);
  CHECK(ours->data() != theirs->data());

  ours->data()[0] = std::byte{1};
  theirs->data()[kSize - 1] = std::byte{2};

  CHECK_EQ(theirs->data()[0], std::byte{1});
  CHECK_EQ(ours->data()[kSize - 1], std::byte{2});
  CHECK_EQ(theirs->size(), kSize);
}

TEST(Region, CannotBeResizedByAnyone) {
  const auto region = Region::Create("tpb-test-region", kSize, kSize);
  const auto attached = Region::Attach(Duplicate(region->fd()), kSize);

  for (const std::uint64_t size : {std::uint64_t{0}, kSize - kPage, kSize + kPage}) {
    CHECK_EQ(::ftruncate(attached->fd(), static_cast<off_t>(size)), -1);
    CHECK_EQ(errno, EPERM);
  }
  CHECK_EQ(::fcntl(attached->fd(), F_ADD_SEALS, F_SEAL_WRITE), -1);
  CHECK_EQ(errno, EPERM);
}

TEST(Region, IsSparseAndClosedOnExec) {
  const auto region = Region::Create("tpb-test-region", std::uint64_t{1} << 34, std::uint64_t{1} << 34);

  struct stat status{};
  CHECK_EQ(::fstat(region->fd(), &status), 0);
  CHECK_EQ(status.st_size, std::int64_t{1} << 34);
  CHECK_EQ(status.st_blocks, 0);
  CHECK_EQ(::fcntl(region->fd(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST(Region, AttachChecksTheSize) {
  const auto region = Region::Create("tpb-test-region", kSize, kSize);

  CHECK_EQ(CHECK_THROWS(ProtocolError, Region::Attach(Duplicate(region->fd()), kSize + kPage)),
           "the shared memory received has 65536 bytes, expected 69632");
  CHECK_THROWS(ProtocolError, Region::Attach(Duplicate(region->fd()), kSize - kPage));
}

TEST(Region, AttachRefusesWhatIsNotSealed) {
  UniqueFd memfd(::memfd_create("tpb-test-unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  CHECK_EQ(::ftruncate(memfd.get(), kSize), 0);
  CHECK_EQ(::fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL), 0);

  CHECK_EQ(CHECK_THROWS(ProtocolError, Region::Attach(std::move(memfd), kSize)),
           "the shared memory received is not sealed");
}

TEST(Region, AttachRefusesWhatIsNotAMemfd) {
  CHECK_THROWS(ipc::Error, Region::Attach(UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)), 0));
  CHECK_THROWS(ipc::Error, Region::Attach(UniqueFd(), kSize));
}

TEST(Region, WritingToItsReadOnlyPartFaults) {
  const auto region = Region::Create("tpb-test-region", kSize, kSize / 2);
  volatile std::byte* data = region->data();

  data[kSize / 2 - 1] = std::byte{1};
  CHECK_EQ(data[kSize / 2], std::byte{0});
  CHECK_EQ(testing::RunInChild([data] { data[kSize / 2 - 1] = std::byte{2}; }), "exit 0");
  CHECK_EQ(testing::RunInChild([data] { data[kSize / 2] = std::byte{2}; }), "signal 11");
  CHECK_EQ(testing::RunInChild([data] { data[kSize - 1] = std::byte{2}; }), "signal 11");
  CHECK_EQ(data[kSize / 2], std::byte{0});
}

// A dump would read, and so allocate, every page of a file that may be as large as the machine's memory.
TEST(Region, IsLeftOutOfCoreDumps) {
  const auto region = Region::Create("tpb-test-region", kSize, kSize / 2);
  const auto attached = Region::Attach(Duplicate(region->fd()), kSize);

  for (const std::byte* part : {region->data(), region->data() + kSize / 2, attached->data()}) {
    CHECK(testing::MappingFlags(part).find(" dd ") != std::string::npos);
  }
  const int on_the_stack = 0;
  CHECK(testing::MappingFlags(&on_the_stack).find(" dd ") == std::string::npos);
}

TEST(Region, LeavesNothingBehind) {
  const auto descriptors = testing::OpenDescriptors();
  const auto mappings = testing::MemfdMappings();
  {
    const auto region = Region::Create("tpb-test-region", kSize, kSize / 2);
    const auto attached = Region::Attach(Duplicate(region->fd()), kSize);
    CHECK_THROWS(ProtocolError, Region::Attach(Duplicate(region->fd()), kSize * 2));
    CHECK_EQ(testing::MemfdMappings().size(), mappings.size() + 3);
    CHECK_EQ(testing::OpenDescriptors().size(), descriptors.size() + 2);
  }

  CHECK(testing::OpenDescriptors() == descriptors);
  CHECK(testing::MemfdMappings() == mappings);
}

TEST(RegionSizeLimit, IsTheWishOrTheMachine) {
  CHECK_EQ(ipc::RegionSizeLimit(kSize), kSize);
  const auto pages = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES));
  const std::uint64_t machine = ipc::RegionSizeLimit(0);
  CHECK(machine > 0 && machine <= pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
  CHECK(machine <= std::uint64_t{64} << 30);
  CHECK_EQ(ipc::RegionSizeLimit(std::uint64_t{1} << 40), std::uint64_t{1} << 40);
}

TEST(RegionSizeLimit, StaysBelowTheLimitsOfTheProcess) {
  static constexpr std::uint64_t kLimit = std::uint64_t{1} << 30;

  CHECK_EQ(testing::RunInChild([] {
             SetLimit(RLIMIT_FSIZE, kLimit);
             CHECK_EQ(ipc::RegionSizeLimit(8 * kLimit), kLimit);
             CHECK_EQ(ipc::RegionSizeLimit(kLimit / 2), kLimit / 2);
           }),
           "exit 0");
  CHECK_EQ(testing::RunInChild([] {
             SetLimit(RLIMIT_AS, kLimit);
             CHECK_EQ(ipc::RegionSizeLimit(8 * kLimit), kLimit / 2);
           }),
           "exit 0");
}

// Growing a file past RLIMIT_FSIZE kills the process; a region of the limited size does not.
TEST(RegionSizeLimit, IsWhatTheKernelAllows) {
  static constexpr std::uint64_t kLimit = 8 * kPage;

  CHECK_EQ(testing::RunInChild([] {
             SetLimit(RLIMIT_FSIZE, kLimit);
             Region::Create("tpb-test-region", kSize, kSize);
           }),
           "signal 25");
  CHECK_EQ(testing::RunInChild([] {
             SetLimit(RLIMIT_FSIZE, kLimit);
             const std::uint64_t size = ipc::RegionSizeLimit(kSize);
             CHECK_EQ(Region::Create("tpb-test-region", size, size)->size(), kLimit);
           }),
           "exit 0");
}

}  // namespace
}  // namespace tpb
