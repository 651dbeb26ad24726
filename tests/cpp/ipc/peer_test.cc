#include "ipc/peer.h"

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>
#include <utility>

#include "ipc/deadline.h"
#include "ipc/socket.h"
#include "ipc/unique_fd.h"
#include "tests/cpp/check.h"
#include "tests/cpp/process.h"

namespace tpb {
namespace {

using ipc::Deadline;
using ipc::WaitReadable;

TEST(Peer, APidfdTellsTheEndOfItsProcess) {
  testing::Child child([] { ::pause(); });
  const ipc::UniqueFd pidfd = ipc::OpenPidfd(child.pid());
  CHECK(pidfd.valid());
  const int descriptor = pidfd.get();
  CHECK_EQ(WaitReadable(&descriptor, 1, Deadline::After(std::chrono::milliseconds(0))), -1);

  child.Kill();

  CHECK_EQ(WaitReadable(&descriptor, 1, Deadline::Never()), 0);
  CHECK_EQ(child.Wait(), "signal 9");
}

TEST(Peer, AProcessThatDoesNotExistHasNoPidfd) {
  testing::Child child([] {});
  CHECK_EQ(child.Wait(), "exit 0");

  CHECK(!ipc::OpenPidfd(child.pid()).valid());
}

TEST(Peer, NamesTheFirstThatIsReady) {
  const ipc::UniqueFd quiet(::eventfd(0, EFD_CLOEXEC));
  const ipc::UniqueFd ready(::eventfd(1, EFD_CLOEXEC));
  const std::array descriptors{quiet.get(), -1, ready.get(), ready.get()};

  CHECK_EQ(WaitReadable(descriptors.data(), 4, Deadline::Never()), 2);
}

TEST(Peer, AHangUpCounts) {
  auto [left, right] = ipc::SocketPair();
  left.Reset();
  const int descriptor = right.get();

  CHECK_EQ(WaitReadable(&descriptor, 1, Deadline::Never()), 0);
}

TEST(Peer, GivesUpAtTheDeadlineAndNotBefore) {
  const ipc::UniqueFd quiet(::eventfd(0, EFD_CLOEXEC));
  const std::array descriptors{quiet.get(), -1};
  const auto start = Deadline::Clock::now();

  CHECK_EQ(WaitReadable(descriptors.data(), 2, Deadline::After(std::chrono::milliseconds(20))), -1);

  CHECK(Deadline::Clock::now() - start >= std::chrono::milliseconds(20));
}

rlim_t SetDescriptorLimit(pid_t pid, const rlimit* limit) {
  rlimit before{};
  CHECK_EQ(::prlimit(pid, RLIMIT_NOFILE, limit, &before), 0);
  return before.rlim_cur;
}

// poll() refuses to wait for more descriptors than the process may open.
TEST(Peer, WaitsWithoutDescriptorsToOpenAndHearsWhenThereAreSomeAgain) {
  rlimit limit{};
  CHECK_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  testing::Child waiter([&limit] {
    const ipc::UniqueFd ready(::eventfd(1, EFD_CLOEXEC));
    const int descriptor = ready.get();
    const rlimit none{.rlim_cur = 0, .rlim_max = limit.rlim_max};
    SetDescriptorLimit(::getpid(), &none);
    CHECK_EQ(WaitReadable(&descriptor, 1, Deadline::After(std::chrono::milliseconds(50))), -1);
    CHECK_EQ(WaitReadable(&descriptor, 1, Deadline::Never()), 0);
  });
  while (SetDescriptorLimit(waiter.pid(), nullptr) != 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));

  SetDescriptorLimit(waiter.pid(), &limit);

  CHECK_EQ(waiter.Wait(), "exit 0");
}

}  // namespace
}  // namespace tpb
