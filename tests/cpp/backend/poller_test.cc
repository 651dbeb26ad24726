#include "backend/poller.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "ipc/error.h"
#include "tests/cpp/check.h"
#include "tests/cpp/process.h"

namespace {

using tpb::backend::Poller;
using tpb::ipc::UniqueFd;

UniqueFd NewEventfd(unsigned value = 0) { return UniqueFd(::eventfd(value, EFD_CLOEXEC | EFD_NONBLOCK)); }

TEST(Poller, CallsTheHandlerOfWhatIsReadable) {
  const UniqueFd quiet = NewEventfd();
  const UniqueFd readable = NewEventfd(1);
  Poller poller;
  std::string called;
  poller.Add(quiet.get(), [&] { called += "quiet "; });
  poller.Add(readable.get(), [&] { called += "readable "; });

  CHECK(poller.Wait(0));
  CHECK(poller.Wait(-1));

  CHECK_EQ(called, "readable readable ");
}

TEST(Poller, WaitsNoLongerThanItShould) {
  const UniqueFd quiet = NewEventfd();
  Poller poller;
  poller.Add(quiet.get(), [] {});

  CHECK(!poller.Wait(0));
  CHECK(!poller.Wait(20));
}

TEST(Poller, TakesTurns) {
  const UniqueFd one = NewEventfd(1);
  const UniqueFd other = NewEventfd(1);
  Poller poller;
  std::vector<int> called;
  poller.Add(one.get(), [&] { called.push_back(1); });
  poller.Add(other.get(), [&] { called.push_back(2); });

  for (int i = 0; i < 4; ++i) {
    CHECK(poller.Wait(0));
  }

  CHECK(called == (std::vector<int>{1, 2, 1, 2}));
}

// What the handler holds lives until it returns.
TEST(Poller, AHandlerMayRemoveItself) {
  const UniqueFd readable = NewEventfd(1);
  Poller poller;
  std::string said;
  poller.Add(readable.get(), [&poller, &said, fd = readable.get(), words = std::string(1000, 'x')] {
    poller.Remove(fd);
    said = words;
  });

  CHECK(poller.Wait(0));

  CHECK_EQ(said.size(), 1000U);
  CHECK(!poller.Wait(0));
}

TEST(Poller, AHandlerMayRemoveAnotherThatIsReadableToo) {
  const UniqueFd one = NewEventfd(1);
  const UniqueFd other = NewEventfd(1);
  Poller poller;
  int called = 0;
  poller.Add(one.get(), [&] {
    ++called;
    poller.Remove(other.get());
  });
  poller.Add(other.get(), [&] {
    ++called;
    poller.Remove(one.get());
  });

  CHECK(poller.Wait(0));
  CHECK(poller.Wait(0));

  CHECK_EQ(called, 2);  // whichever came first is still there, and came again
}

TEST(Poller, ANumberThatIsUsedAgainHasItsNewHandler) {
  Poller poller;
  std::string called;
  UniqueFd fd = NewEventfd(1);
  const int number = fd.get();
  poller.Add(number, [&] { called += "old "; });
  poller.Remove(number);
  fd.Reset();
  fd = NewEventfd(1);
  CHECK_EQ(fd.get(), number);

  poller.Add(number, [&] { called += "new "; });

  CHECK(poller.Wait(0));
  CHECK_EQ(called, "new ");
}

TEST(Poller, WhatIsNotThereIsIgnored) {
  const UniqueFd quiet = NewEventfd();
  Poller poller;
  poller.Add(-1, [] {});
  poller.Remove(-1);
  poller.Remove(quiet.get());

  CHECK(!poller.Wait(0));
}

TEST(Poller, WhatCannotBeWatchedIsAnError) {
  const UniqueFd twice = NewEventfd();
  Poller poller;
  poller.Add(twice.get(), [] {});

  CHECK_THROWS(tpb::ipc::Error, poller.Add(twice.get(), [] {}));
  CHECK_THROWS(tpb::ipc::Error, poller.Add(9999, [] {}));
}

TEST(Poller, LeavesNoDescriptor) {
  const auto before = tpb::testing::OpenDescriptors();
  {
    const UniqueFd fd = NewEventfd(1);
    Poller poller;
    poller.Add(fd.get(), [] {});
    poller.Wait(0);
  }
  CHECK(tpb::testing::OpenDescriptors() == before);
}

}  // namespace
