// Outputs that are the state of a sequence: where they go, and lies about them.
#include "backend/state.h"

#include <array>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "backend/payloads.h"
#include "ipc/channel.h"
#include "ipc/error.h"
#include "tests/cpp/backend/stand_in_core.h"
#include "tests/cpp/check.h"

// What core knows of a state; the one that was updated last.
struct TRITONBACKEND_State {
  std::string name;
  std::string payload;
  bool updated = false;
};

namespace {

TRITONBACKEND_State& LastState() {
  static TRITONBACKEND_State state;
  return state;
}

TRITONSERVER_MemoryType& WantedMemory() {
  static TRITONSERVER_MemoryType type = TRITONSERVER_MEMORY_CPU;
  return type;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

TRITONSERVER_Error* TRITONBACKEND_StateNew(TRITONBACKEND_State** state, TRITONBACKEND_Request* /*request*/,
                                           const char* name, const TRITONSERVER_DataType /*dtype*/,
                                           const int64_t* /*shape*/, const uint32_t /*dims*/) {
  LastState() = {.name = name, .payload = {}};
  *state = &LastState();
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_StateBuffer(TRITONBACKEND_State* state, void** buffer, const uint64_t size,
                                              TRITONSERVER_MemoryType* memory_type, int64_t* device) {
  state->payload.resize(size);
  *buffer = state->payload.data();
  *memory_type = WantedMemory();
  *device = 0;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_StateUpdate(TRITONBACKEND_State* state) {
  state->updated = true;
  return nullptr;
}

}  // extern "C"
#pragma GCC visibility pop

namespace {

using tpb::backend::Leases;
using tpb::backend::StateOutputs;
using tpb::ipc::ProtocolError;
using tpb::ipc::ServerChannel;
using tpb::ipc::Tensor;

constexpr std::array<std::int64_t, 1> kTwo{2};

// A stub that holds a block of 64 bytes, and a model with one state.
struct Updating {
  Updating() {
    UseStandInCore();
    LastState() = {};
    WantedMemory() = TRITONSERVER_MEMORY_CPU;
    auto block = channel->arena()->Allocate(64);
    std::memset(block.data(), 'x', 64);
    tensor.lease = leases.Add(std::move(block)).lease;
  }

  bool Update() { return states.Update(&request, tensor, {*channel, leases}, "m_0_0"); }

  std::unique_ptr<ServerChannel> channel =
      ServerChannel::Create({.name = "state_test", .max_bytes = 8U << 20U});
  Leases leases;
  Tensor tensor{.name = "STATE",
                .dtype = tpb::ipc::DataType::kFp32,
                .shape = kTwo,
                .place = tpb::ipc::Place::kServerArena,
                .offset = 56,
                .size = 8};
  StateOutputs states{std::vector<std::string_view>{"STATE"}};
  TRITONBACKEND_Request request = MakeRequest("IN", "abcd");
};

TEST(State, GoesToCoreAndNotToAClientThatDidNotAsk) {
  Updating updating;
  CHECK(!updating.Update());
  CHECK_EQ(LastState().name, "STATE");
  CHECK_EQ(LastState().payload, "xxxxxxxx");
  CHECK(LastState().updated);
}

TEST(State, IsWhatTheModelNamesAndNothingElse) {
  Updating updating;
  CHECK(updating.states.Has(updating.tensor));
  updating.tensor.name = "OUT";
  CHECK(!updating.states.Has(updating.tensor));
  CHECK(!StateOutputs().Has(updating.tensor));
}

TEST(State, ThatNamesWhatTheStubDoesNotHoldChangesNothing) {
  Updating updating;
  updating.tensor.offset = 57;
  CHECK_THROWS(ProtocolError, updating.Update());
  updating.tensor.offset = 0;
  updating.tensor.size = 12;  // its shape needs 8
  CHECK_THROWS(ProtocolError, updating.Update());
  CHECK(!LastState().updated);
}

TEST(State, ThatIsNoBytesTensorChangesNothing) {
  Updating updating;
  updating.tensor.dtype = tpb::ipc::DataType::kBytes;
  CHECK_THROWS(ProtocolError, updating.Update());
  CHECK(!LastState().updated);
}

TEST(State, IsNotPutIntoGpuMemory) {
  Updating updating;
  WantedMemory() = TRITONSERVER_MEMORY_GPU;
  CHECK_THROWS(tpb::ipc::Error, updating.Update());
  CHECK(!LastState().updated);
}

}  // namespace
