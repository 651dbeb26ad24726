// Calls that could only wait for themselves.
#include "backend/bls/waits.h"

#include <array>
#include <cstddef>

#include "tests/cpp/check.h"

namespace {

using tpb::backend::bls::Gateway;
using tpb::backend::bls::Waits;

// Stand for instances: only their addresses matter.
std::array<std::byte, 8> places;
const Gateway* At(std::size_t index) { return reinterpret_cast<const Gateway*>(&places.at(index)); }

TEST(Waits, TheOnlyInstanceCannotCallItself) {
  Waits waits;
  waits.Add(At(0), "a");

  CHECK_EQ(waits.Enter(At(0), "a").value_or(""), "'a' waits for 'a'");

  CHECK(!waits.Enter(At(0), "b"));  // it is not waiting after all
}

TEST(Waits, ASiblingThatIsFreeMayAnswer) {
  Waits waits;
  waits.Add(At(0), "a");
  waits.Add(At(1), "a");

  CHECK(!waits.Enter(At(0), "a"));
  CHECK_EQ(waits.Enter(At(1), "a").value_or(""), "'a' waits for 'a'");

  waits.Leave(At(0));
  CHECK(!waits.Enter(At(1), "a"));
}

TEST(Waits, ALongWayRoundIsNamed) {
  Waits waits;
  waits.Add(At(0), "a");
  waits.Add(At(1), "b");
  waits.Add(At(2), "c");

  CHECK(!waits.Enter(At(0), "b"));
  CHECK(!waits.Enter(At(1), "c"));
  CHECK_EQ(waits.Enter(At(2), "a").value_or(""),
           "'c' waits for 'a', which waits for 'b', which waits for 'c'");
}

TEST(Waits, AWayOutAnywhereIsEnough) {
  Waits waits;
  waits.Add(At(0), "a");
  waits.Add(At(1), "b");
  waits.Add(At(2), "b");
  waits.Add(At(3), "c");

  CHECK(!waits.Enter(At(0), "b"));
  CHECK(!waits.Enter(At(1), "a"));  // the other b may answer a
  CHECK(!waits.Enter(At(3), "a"));
  CHECK_EQ(waits.Enter(At(2), "c").value_or("").empty(), false);
}

TEST(Waits, ModelsOfOtherBackendsMayAlwaysAnswer) {
  Waits waits;
  waits.Add(At(0), "a");

  CHECK(!waits.Enter(At(0), "an onnx model"));
}

TEST(Waits, AnInstanceThatLeftIsNotWaitedFor) {
  Waits waits;
  waits.Add(At(0), "a");
  waits.Add(At(1), "b");
  CHECK(!waits.Enter(At(0), "b"));
  waits.Remove(At(0));

  CHECK(!waits.Enter(At(1), "a"));
}

}  // namespace
