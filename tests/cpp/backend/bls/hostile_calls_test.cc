// Calls that a stub may not make: each is a ProtocolError, after which nothing of the call is left.
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ipc/error.h"
#include "tests/cpp/backend/bls/caller.h"
#include "tests/cpp/backend/bls/stand_in_models.h"
#include "tests/cpp/check.h"

namespace {

namespace ipc = tpb::ipc;

constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();

// Sends a call whose only input is `lie(a good one)`.
void ExpectRefused(const char* what, const std::function<ipc::Tensor(Caller&, ipc::Tensor)>& lie) {
  auto caller = std::make_unique<Caller>();
  ipc::Call call = CallOf("m", 3);
  call.request.inputs = {caller->Input("GOOD", "good"), lie(*caller, caller->Input("IN", "payload!"))};
  caller->Send(1, call);
  try {
    caller->Handle();
  } catch (const ipc::ProtocolError&) {
    CHECK_EQ(Models::Get().submitted(), 0U);
    CHECK_EQ(caller->stub->calls()[3].answered.load(), 0U);
    caller->CheckNothingLeft();
    const std::weak_ptr<tpb::backend::Conversation> conversation = caller->conversation;
    caller.reset();
    CHECK(conversation.expired());
    return;
  }
  throw tpb::testing::Failure(__FILE__, __LINE__, std::string("took ") + what);
}

TEST(HostileCall, InputsThatTheStubDoesNotHoldAreRefused) {
  using Lie = std::function<ipc::Tensor(Caller&, ipc::Tensor)>;
  const std::vector<std::pair<const char*, Lie>> lies{
      {"bytes beyond the stub's arena",
       [](Caller& caller, ipc::Tensor tensor) {
         tensor.offset = caller.stub->arena()->size() - 7;
         return tensor;
       }},
      {"an offset that wraps",
       [](Caller&, ipc::Tensor tensor) {
         tensor.offset = kMost - 3;
         return tensor;
       }},
      {"a size that wraps",
       [](Caller&, ipc::Tensor tensor) {
         tensor.size = kMost;
         return tensor;
       }},
      {"strings without an end",
       [](Caller&, ipc::Tensor tensor) {
         tensor.dtype = ipc::DataType::kBytes;
         tensor.size = kMost - 64;
         return tensor;
       }},
      {"a lease that was never given",
       [](Caller&, ipc::Tensor tensor) {
         tensor.place = ipc::Place::kServerArena;
         tensor.lease = 99;
         tensor.offset = 0;
         return tensor;
       }},
      {"fewer bytes than its shape needs",
       [](Caller&, ipc::Tensor tensor) {
         tensor.size = 7;
         return tensor;
       }},
      {"more bytes than its shape needs",
       [](Caller&, ipc::Tensor tensor) {
         tensor.dtype = ipc::DataType::kBool;
         tensor.size = 9;
         return tensor;
       }},
      {"a negative dimension",
       [](Caller& caller, const ipc::Tensor& tensor) { return caller.Shaped(tensor, {-8, -1}); }},
      {"dimensions whose product wraps to its size",
       [](Caller& caller, const ipc::Tensor& tensor) {
         return caller.Shaped(tensor, {std::int64_t{1} << 61, 8, 8});
       }},
      {"elements whose bytes wrap",
       [](Caller& caller, ipc::Tensor tensor) {
         tensor.dtype = ipc::DataType::kFp64;
         return caller.Shaped(tensor, {(std::int64_t{1} << 61) + 1});
       }},
      {"memory of a GPU",
       [](Caller&, ipc::Tensor tensor) {
         tensor.memory_type = ipc::MemoryType::kGpu;
         return tensor;
       }},
  };
  for (const auto& [what, lie] : lies) {
    ExpectRefused(what, lie);
  }
}

TEST(HostileCall, BytesBeyondABlockThatTheStubHoldsAreRefused) {
  for (const auto& [offset, size] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {0, 7}, {1, 6}, {6, 1}, {7, 0}, {kMost, 1}, {kMost - 1, 4}}) {
    Caller caller;
    Models::Get().answer_at_once = "sixsix";
    caller.Send(1, CallOf("m", 0));
    caller.Handle();
    const Got got = caller.Answer(0, 1);
    auto tensor = caller.Shaped(caller.Input("IN", ""), {static_cast<std::int64_t>(size)});
    tensor.place = ipc::Place::kServerArena;
    tensor.lease = got.leases[1];
    tensor.offset = offset;
    tensor.size = size;
    ipc::Call call = CallOf("m", 1);
    call.request.inputs = {tensor};
    caller.Send(2, call);

    CHECK_THROWS(ipc::ProtocolError, caller.Handle());
  }
}

TEST(HostileCall, ALeaseThatWasGivenBackIsRefused) {
  Caller caller;
  Models::Get().answer_at_once = "sixsix";
  caller.Send(1, CallOf("m", 0));
  caller.Handle();
  const Got got = caller.Answer(0, 1);
  caller.Release(got);
  auto tensor = caller.Shaped(caller.Input("IN", ""), {6});
  tensor.place = ipc::Place::kServerArena;
  tensor.lease = got.leases[1];
  tensor.size = 6;
  ipc::Call call = CallOf("m", 1);
  call.request.inputs = {tensor};
  caller.Send(2, call);

  CHECK_THROWS(ipc::ProtocolError, caller.Handle());

  caller.CheckNothingLeft();
}

TEST(HostileCall, ASlotThatThereIsNotIsRefused) {
  for (const std::uint32_t slot : {ipc::kCallSlots, ipc::kCallSlots + 1, 0xFFFFFFFFU}) {
    Caller caller;
    caller.Send(1, CallOf("m", slot));

    CHECK_THROWS(ipc::ProtocolError, caller.Handle());

    caller.CheckNothingLeft();
  }
}

// The second would get the first one's answer, or write over it.
TEST(HostileCall, ASlotInWhichACallWaitsIsRefused) {
  Caller caller;
  caller.Send(1, CallOf("m", 4));
  caller.Handle();
  caller.Send(2, CallOf("m", 4));

  CHECK_THROWS(ipc::ProtocolError, caller.Handle());

  auto* request = Models::Get().Take();
  CHECK_EQ(Models::Get().submitted(), 0U);
  RespondWith(request, "of the first");
  Release(request);
  const Got got = caller.Answer(4, 1);
  CHECK_EQ(got.outputs.at(0), "of the first");
}

TEST(HostileCall, AnIdThatIsInUseIsRefused) {
  Caller caller;
  caller.Send(1, CallOf("m", 4));
  caller.Handle();
  caller.Send(1, CallOf("m", 5));

  CHECK_THROWS(ipc::ProtocolError, caller.Handle());

  auto* request = Models::Get().Take();
  RespondWithNothing(request);
  Release(request);
  CHECK_EQ(caller.stub->calls()[5].answered.load(), 0U);
  CHECK_EQ(caller.Answer(4, 1).error, "Unexpected empty response.");
}

TEST(HostileCall, WhatIsNoCallIsRefused) {
  Caller caller;
  const std::vector<std::byte> nonsense(40, std::byte{0xFF});
  caller.SendBody(1, nonsense);
  CHECK_THROWS(ipc::ProtocolError, caller.Handle());

  Caller other;
  other.SendBody(1, {});
  CHECK_THROWS(ipc::ProtocolError, other.Handle());
  other.CheckNothingLeft();
}

TEST(HostileCall, NobodyCallsWhereNoCallsArePossible) {
  Caller caller(false);
  caller.Send(1, CallOf("m"));

  CHECK_THROWS(ipc::ProtocolError, caller.Handle());

  caller.CheckNothingLeft();
}

// A stub that never takes its answers, and never gives anything back.
TEST(HostileCall, AnswersThatNobodyTakesCostTheStubsOwnMemoryOnly) {
  Caller caller;
  Models::Get().answer_at_once = std::string(100'000, 'x');
  bool without_room = false;
  for (std::uint64_t id = 1; id <= 200 && !without_room; ++id) {
    const auto slot = static_cast<std::uint32_t>(id % ipc::kCallSlots);
    try {
      caller.Send(id, CallOf("m", slot));
      caller.Handle();
    } catch (const ipc::Error&) {
      throw tpb::testing::Failure(__FILE__, __LINE__, "the server gave up");
    }
    without_room = caller.stub->calls()[slot].no_room == 1 || caller.Answer(slot, id).outputs.empty();
    Models::Get().answer_at_once = without_room ? std::string() : std::string(100'000, 'x');
  }
  CHECK(without_room);
}

// It names the same bytes over and over, none of which it has ever touched.
TEST(HostileCall, StringsThatAreNamedOftenDoNotFillTheServersMemory) {
  Caller caller;
  const auto strings = [&caller] {
    auto tensor = caller.Shaped(caller.Input("IN", ""), {1});
    tensor.dtype = ipc::DataType::kBytes;
    tensor.size = caller.stub->arena()->size();
    return tensor;
  };
  ipc::Call call = CallOf("m", 0);
  call.request.inputs = {strings(), strings()};
  caller.Send(1, call);
  call.slot = 1;
  caller.Send(2, call);
  caller.Handle();

  CHECK_EQ(Models::Get().submitted(), 1U);
  const Got refused = caller.Answer(1, 2);
  CHECK_EQ(refused.code, ipc::Code::kUnavailable);
  CHECK(refused.error.find("would take more than") != std::string::npos);

  auto* request = Models::Get().Take();
  RespondWithNothing(request);
  Release(request);
  call.slot = 2;
  caller.Send(3, call);
  caller.Handle();
  CHECK_EQ(Models::Get().submitted(), 1U);
  request = Models::Get().Take();
  RespondWithNothing(request);
  Release(request);
}

}  // namespace
