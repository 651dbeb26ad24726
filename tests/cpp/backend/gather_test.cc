// Input buffers -> blocks and message: what a CPU-only server cannot be made to do.
#include "backend/gather.h"

#include <cstring>
#include <string>
#include <vector>

#include "ipc/channel.h"
#include "ipc/messages.h"
#include "tests/cpp/backend/stand_in_core.h"
#include "tests/cpp/check.h"

namespace {

using tpb::backend::Batch;
using tpb::backend::ExchangeLeases;
using tpb::backend::Gathered;
using tpb::backend::Leases;
using tpb::ipc::ServerChannel;

constexpr std::uint64_t kRegion = std::uint64_t{8} << 20;

struct Exchange {
  explicit Exchange(std::vector<TRITONBACKEND_Request>& requests) {
    UseStandInCore();
    for (auto& request : requests) {
      pointers.push_back(&request);
    }
  }

  Gathered Gather(Batch& batch, bool has_batch_dimension = false) {
    return tpb::backend::Gather(batch, *channel->arena(), exchange,
                                {.name = "m_0_0", .has_batch_dimension = has_batch_dimension}, 100, body);
  }
  [[nodiscard]] tpb::ipc::Execute Message() const { return tpb::ipc::DecodeExecute(body.bytes()); }
  [[nodiscard]] std::string Bytes(const tpb::ipc::Tensor& tensor) const {
    const auto bytes = leases.Bytes(tensor.lease, tensor.offset, tensor.size);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::unique_ptr<ServerChannel> channel =
      ServerChannel::Create({.name = "gather_test", .max_bytes = kRegion});
  Leases leases;
  ExchangeLeases exchange{leases};
  tpb::ipc::Writer body;
  std::vector<TRITONBACKEND_Request*> pointers;
};

TEST(Gather, LaysPiecesOfOneInputSideBySide) {
  const std::string first(32768, 'a');
  const std::string second(65536, 'b');
  std::vector requests{MakeRequest("IN", first), MakeRequest("IN", second)};
  Exchange exchange(requests);
  Batch batch(nullptr, exchange.pointers);

  exchange.Gather(batch);

  const auto message = exchange.Message();
  CHECK_EQ(message.requests.size(), 2U);
  const auto& left = message.requests[0].inputs[0];
  const auto& right = message.requests[1].inputs[0];
  CHECK_EQ(left.lease, right.lease);
  CHECK_EQ(left.offset + left.size, right.offset);
  CHECK_EQ(exchange.Bytes(left), first);
  CHECK_EQ(exchange.Bytes(right), second);
}

TEST(Gather, JoinsTheBuffersOfAnInput) {
  std::vector requests{MakeRequest("IN", "abcdefgh")};
  requests[0].inputs[0].buffers = {"ab", "", "cdefg", "h"};
  Exchange exchange(requests);
  Batch batch(nullptr, exchange.pointers);

  exchange.Gather(batch);

  CHECK_EQ(exchange.Bytes(exchange.Message().requests[0].inputs[0]), "abcdefgh");
}

TEST(Gather, RefusesOnlyTheRequestWhoseInputIsInGpuMemory) {
  std::vector requests{MakeRequest("IN", "abcd"), MakeRequest("IN", "efgh"), MakeRequest("IN", "ijkl")};
  requests[1].inputs[0].memory_type = TRITONSERVER_MEMORY_GPU;
  Exchange exchange(requests);
  Batch batch(nullptr, exchange.pointers);

  const Gathered gathered = exchange.Gather(batch);

  CHECK(gathered.sent == (std::vector<std::size_t>{0, 2}));
  CHECK_EQ(exchange.Bytes(exchange.Message().requests[1].inputs[0]), "ijkl");
  CHECK_EQ(requests[1].sent.responses, 1);
  CHECK_EQ(requests[1].sent.code, TRITONSERVER_ERROR_UNSUPPORTED);
  CHECK(requests[1].sent.message.find("input 'IN' of model instance 'm_0_0' is in GPU memory (device 3)") !=
        std::string::npos);
  CHECK_EQ(requests[0].sent.responses, 0);
}

TEST(Gather, RefusesBuffersThatDoNotAddUp) {
  std::vector requests{MakeRequest("IN", "abcd"), MakeRequest("IN", "efgh")};
  requests[0].inputs[0].claimed_size = 8;
  requests[1].inputs[0].claimed_size = 2;
  Exchange exchange(requests);
  Batch batch(nullptr, exchange.pointers);

  const Gathered gathered = exchange.Gather(batch);

  CHECK(gathered.sent.empty());
  CHECK(requests[0].sent.failed && requests[1].sent.failed);
}

TEST(Gather, JoinsTheBuffersOfABytesInputWhereverTheyAreCut) {
  const std::string whole = BytesElement("ab") + BytesElement("") + BytesElement("cde");
  std::vector<TRITONBACKEND_Request> requests;
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    requests.push_back(MakeBytesRequest(whole, 3));
    requests.back().inputs[0].buffers = {whole.substr(0, cut), whole.substr(cut)};
  }
  Exchange exchange(requests);
  Batch batch(nullptr, exchange.pointers);

  exchange.Gather(batch);

  const auto message = exchange.Message();
  CHECK_EQ(message.requests.size(), requests.size());
  for (const auto& request : message.requests) {
    CHECK_EQ(exchange.Bytes(request.inputs[0]), whole);
  }
}

TEST(Gather, RefusesOnlyTheRequestWhoseBytesInputIsMalformed) {
  const std::string two = BytesElement("ab") + BytesElement("cd");
  std::vector requests{MakeBytesRequest(two, 2), MakeBytesRequest(two, 1), MakeBytesRequest(two, 3),
                       MakeBytesRequest(two.substr(0, 11), 2), MakeBytesRequest("", 0)};
  requests[3].inputs[0].buffers = {two.substr(0, 7), two.substr(7, 4)};
  Exchange exchange(requests);
  Batch batch(nullptr, exchange.pointers);

  const Gathered gathered = exchange.Gather(batch);

  CHECK(gathered.sent == (std::vector<std::size_t>{0, 4}));
  CHECK_EQ(requests[1].sent.message,
           "unexpected number of string elements 2 for inference input 'IN', expecting 1");
  CHECK_EQ(requests[2].sent.message, "expected 3 strings for inference input 'IN', got 2");
  CHECK_EQ(requests[3].sent.message,
           "incomplete string data for inference input 'IN', expecting string of length 2 but only 1 bytes "
           "available");
  for (const std::size_t refused : {1U, 2U, 3U}) {
    CHECK_EQ(requests[refused].sent.code, TRITONSERVER_ERROR_INVALID_ARG);
  }
}

TEST(Gather, GivesEveryBlockBackWhenTheArenaIsFull) {
  std::vector requests{MakeRequest("A", std::string(20000, 'a')),
                       MakeRequest("B", std::string(kRegion, 'b'))};
  Exchange exchange(requests);
  {
    Batch batch(nullptr, exchange.pointers);
    ExchangeLeases leases(exchange.leases);

    const std::string message = CHECK_THROWS(
        tpb::ipc::Error,
        tpb::backend::Gather(batch, *exchange.channel->arena(), leases, {.name = "m"}, 1, exchange.body));

    CHECK(message.starts_with("Failed to increase the shared memory pool size to"));
  }
  CHECK_EQ(exchange.leases.size(), 0U);
  CHECK_EQ(exchange.channel->arena()->BytesInUse(), 0U);
}

TEST(Gather, CountsInferencesByTheBatchDimension) {
  std::vector requests{MakeRequest("IN", std::string(12, 'x')), MakeRequest("IN", std::string(8, 'x'))};
  Exchange exchange(requests);
  Batch batch(nullptr, exchange.pointers);

  CHECK_EQ(exchange.Gather(batch, true).inferences, 5U);
  CHECK_EQ(exchange.Gather(batch, false).inferences, 2U);
}

TEST(Batch, AnswersReportsAndReleasesWhateverIsLeft) {
  std::vector requests{MakeRequest("IN", "abcd"), MakeRequest("IN", "efgh")};
  const Exchange exchange(requests);
  {
    Batch batch(nullptr, exchange.pointers);
    batch.Fail(batch.items()[0], tpb::ipc::Code::kNotFound, "first");
    batch.Fail(batch.items()[0], tpb::ipc::Code::kInternal, "second");
  }
  for (const auto& request : requests) {
    CHECK_EQ(request.sent.responses, 1);
    CHECK(request.released && request.reported && !request.success);
  }
  CHECK_EQ(requests[0].sent.message, "first");
}

}  // namespace
