// Requests of a model that leaves: when they are released, and by whom.
#include "backend/late_releases.h"

#include <array>
#include <atomic>
#include <chrono>
#include <thread>

#include "backend/batch.h"
#include "tests/cpp/backend/stand_in_core.h"
#include "tests/cpp/check.h"

namespace {

using tpb::backend::Batch;
using tpb::backend::LateReleases;
using namespace std::chrono_literals;

bool IsReleased(TRITONBACKEND_Request& request) { return std::atomic_ref(request.released); }

// A batch of one request is over.
template <typename Prepare>
void Execute(TRITONBACKEND_Request& request, LateReleases& late, Prepare prepare) {
  std::array<TRITONBACKEND_Request*, 1> requests{&request};
  Batch batch(nullptr, requests);
  batch.ReleaseThrough(late);
  prepare(batch.items().front());
}

TEST(LateReleases, ABatchIsOverBeforeItsRequestsAreReleasedAndTheEndWaitsForNothing) {
  UseStandInCore();
  TRITONBACKEND_Request request = MakeRequest("IN", "data");
  {
    LateReleases late(10min);
    Execute(request, late, [](Batch::Item&) {});
    CHECK(request.reported);
    CHECK_EQ(request.sent.finals, 1);
    CHECK(!IsReleased(request));
  }
  CHECK(IsReleased(request));
}

TEST(LateReleases, ThoseThatComeLaterAreReleasedToo) {
  UseStandInCore();
  LateReleases late(1ms);
  for (int i = 0; i < 20; ++i) {
    TRITONBACKEND_Request first = MakeRequest("IN", "data");
    TRITONBACKEND_Request second = MakeRequest("IN", "data");
    late.Add(&first);
    late.Add(&second);
    while (!IsReleased(first) || !IsReleased(second)) {
      std::this_thread::sleep_for(1ms);
    }
  }
}

TEST(LateReleases, ARequestThatCoreIsToRescheduleGoesBackAtOnce) {
  UseStandInCore();
  LateReleases late(10min);
  TRITONBACKEND_Request request = MakeRequest("IN", "data");
  Execute(request, late, [](Batch::Item& item) {
    item.answered = true;
    item.rescheduled = true;
  });
  CHECK(IsReleased(request));
  CHECK(request.rescheduled);
}

}  // namespace
