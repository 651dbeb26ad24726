// A stub's answer -> responses: lies, and buffers in GPU memory.
#include "backend/respond.h"

#include <unistd.h>

#include <array>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "backend/payloads.h"
#include "ipc/channel.h"
#include "tests/cpp/backend/stand_in_core.h"
#include "tests/cpp/check.h"

namespace {

using tpb::backend::Batch;
using tpb::backend::Leases;
using tpb::backend::StateOutputs;
using tpb::ipc::ProtocolError;
using tpb::ipc::Response;
using tpb::ipc::ResponseKind;
using tpb::ipc::ServerChannel;
using tpb::ipc::Tensor;

constexpr std::array<std::int64_t, 1> kTwo{2};

// One request, and a block of 64 bytes that its stub holds.
struct Answering {
  Answering() {
    UseStandInCore();
    auto block = channel->arena()->Allocate(64);
    leased = block.data();
    std::memset(leased, 'x', 64);
    lease = leases.Add(std::move(block)).lease;
  }

  void Respond(const Response& response) {
    tpb::backend::Respond(batch, batch.items()[0], response, {*channel, leases}, states, "m_0_0");
  }
  [[nodiscard]] Response Outputs(const Tensor& tensor) const {
    return {.kind = ResponseKind::kTensors, .text = {}, .outputs = {tensor}, .parameters = {}};
  }
  [[nodiscard]] Tensor Leased() const {
    return {.name = "OUT",
            .dtype = tpb::ipc::DataType::kFp32,
            .shape = kTwo,
            .place = tpb::ipc::Place::kServerArena,
            .lease = lease,
            .offset = 56,
            .size = 8};
  }
  // A BYTES tensor of two elements, in the leased block or in the stub's arena, whatever `payload` is.
  Tensor PutLeased(const std::string& payload) {
    std::memcpy(leased, payload.data(), payload.size());
    Tensor tensor = Leased();
    tensor.dtype = tpb::ipc::DataType::kBytes;
    tensor.offset = 0;
    tensor.size = payload.size();
    return tensor;
  }
  Tensor PutStubs(const std::string& payload) {
    // As the stub does it: this process has the arena for reading only.
    const std::uint64_t at = channel->layout().stub_arena.offset;
    CHECK_EQ(::pwrite(channel->memfd(), payload.data(), payload.size(), static_cast<off_t>(at)),
             payload.size());
    Tensor tensor = PutLeased(payload);
    tensor.place = tpb::ipc::Place::kStubArena;
    return tensor;
  }

  std::unique_ptr<ServerChannel> channel =
      ServerChannel::Create({.name = "respond_test", .max_bytes = 8U << 20U});
  Leases leases;
  std::uint64_t lease = 0;
  std::byte* leased = nullptr;
  TRITONBACKEND_Request request = MakeRequest("IN", "abcd");
  std::vector<TRITONBACKEND_Request*> pointers{&request};
  Batch batch{nullptr, pointers};
  StateOutputs states;
};

TEST(Respond, CopiesAnOutputThatNamesALeasedBlock) {
  Answering answering;
  answering.Respond(answering.Outputs(answering.Leased()));

  CHECK_EQ(answering.request.sent.responses, 1);
  CHECK(!answering.request.sent.failed);
  CHECK_EQ(answering.request.sent.outputs.at(0), "xxxxxxxx");
}

TEST(Respond, CopiesABytesOutputFromEitherArena) {
  Answering answering;
  const std::string two = BytesElement("ab") + BytesElement("");
  for (const Tensor& tensor : {answering.PutLeased(two), answering.PutStubs(two)}) {
    answering.Respond(answering.Outputs(tensor));
    answering.batch.items()[0].answered = false;

    CHECK(!answering.request.sent.failed);
    CHECK_EQ(answering.request.sent.outputs.at(0), two);
  }
  CHECK_EQ(answering.request.sent.responses, 2);
}

TEST(Respond, CopiesABytesOutputWithoutElements) {
  Answering answering;
  constexpr std::array<std::int64_t, 2> kNone{3, 0};
  Tensor tensor = answering.PutStubs("");
  tensor.shape = kNone;

  answering.Respond(answering.Outputs(tensor));

  CHECK(!answering.request.sent.failed);
  CHECK_EQ(answering.request.sent.outputs.at(0), "");
}

TEST(Respond, RefusesABytesOutputThatIsMalformed) {
  Answering answering;
  const std::string two = BytesElement("ab") + BytesElement("c");
  for (const std::string& wrong :
       {std::string(), BytesElement("ab"), two + two, two.substr(0, two.size() - 1), two + '\0',
        std::string("\xff\xff\xff\xff", 4) + two}) {
    for (const Tensor& tensor : {answering.PutLeased(wrong), answering.PutStubs(wrong)}) {
      const std::string message = CHECK_THROWS(ProtocolError, answering.Respond(answering.Outputs(tensor)));
      CHECK(message.find("output 'OUT'") != std::string::npos);
    }
  }
  CHECK_EQ(answering.request.sent.responses, 0);
}

TEST(Respond, RefusesABytesOutputWithAnImpossibleShape) {
  Answering answering;
  constexpr std::array<std::int64_t, 2> kHuge{std::int64_t{1} << 40, std::int64_t{1} << 40};
  constexpr std::array<std::int64_t, 2> kNegative{-1, -2};
  for (const std::span<const std::int64_t> shape : {std::span(kHuge), std::span(kNegative)}) {
    Tensor tensor = answering.PutStubs(BytesElement("ab") + BytesElement("c"));
    tensor.shape = shape;
    CHECK_THROWS(ProtocolError, answering.Respond(answering.Outputs(tensor)));
  }
}

TEST(Respond, RefusesBytesThatTheStubDoesNotHold) {
  Answering answering;
  for (const auto& [lease, offset, size] : std::vector<std::array<std::uint64_t, 3>>{
           {answering.lease, 57, 8}, {answering.lease, ~std::uint64_t{0}, 8}, {answering.lease + 1, 0, 8}}) {
    Tensor tensor = answering.Leased();
    tensor.lease = lease;
    tensor.offset = offset;
    tensor.size = size;
    CHECK_THROWS(ProtocolError, answering.Respond(answering.Outputs(tensor)));
  }
  Tensor outside = answering.Leased();
  outside.place = tpb::ipc::Place::kStubArena;
  outside.offset = answering.channel->layout().stub_arena.size - 4;
  CHECK_THROWS(ProtocolError, answering.Respond(answering.Outputs(outside)));
  CHECK_EQ(answering.request.sent.responses, 0);
}

TEST(Respond, RefusesASizeThatIsNotTheShapes) {
  Answering answering;
  Tensor tensor = answering.Leased();
  tensor.size = 4;
  CHECK_THROWS(ProtocolError, answering.Respond(answering.Outputs(tensor)));

  constexpr std::array<std::int64_t, 2> kHuge{std::int64_t{1} << 40, std::int64_t{1} << 40};
  tensor.shape = kHuge;
  CHECK_THROWS(ProtocolError, answering.Respond(answering.Outputs(tensor)));

  constexpr std::array<std::int64_t, 2> kNegative{-1, -2};
  tensor.shape = kNegative;
  CHECK_THROWS(ProtocolError, answering.Respond(answering.Outputs(tensor)));
}

TEST(Respond, RefusesToFollowABufferInGpuMemory) {
  Answering answering;
  answering.request.output_memory_type = TRITONSERVER_MEMORY_GPU;

  answering.Respond(answering.Outputs(answering.Leased()));

  CHECK(answering.request.sent.failed);
  CHECK(answering.request.sent.message.find(
            "output 'OUT' of model instance 'm_0_0' is wanted in GPU memory (device 5)") !=
        std::string::npos);
}

TEST(Respond, PassesTheModelsErrorOnUnchanged) {
  Answering answering;
  answering.Respond({.kind = ResponseKind::kError,
                     .code = tpb::ipc::Code::kNotFound,
                     .text = "no such thing",
                     .outputs = {},
                     .parameters = {}});

  CHECK_EQ(answering.request.sent.message, "no such thing");
  CHECK_EQ(answering.request.sent.code, TRITONSERVER_ERROR_NOT_FOUND);
}

TEST(Leases, ComeBackOnlyAfterTheRepliesThatMayNameThem) {
  Answering answering;
  const std::array kept{answering.lease};
  const std::array<tpb::ipc::LeaseRecord, 1> records{{{.lease = answering.lease, .offset = 0, .size = 64}}};
  answering.leases.Settle(records, kept);  // the first reply: the stub keeps the block

  CHECK(answering.leases.Release(answering.lease, 2));  // sent after a second reply, which may name it
  CHECK_EQ(answering.leases.size(), 1U);
  answering.leases.Settle({}, {});
  CHECK_EQ(answering.leases.size(), 0U);
  CHECK(!answering.leases.Release(answering.lease, 2));
}

}  // namespace
