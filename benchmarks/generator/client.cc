#include "benchmarks/generator/client.h"

#include <utility>

namespace tpb::bench {
namespace {

using Clock = std::chrono::steady_clock;

void Tell(std::atomic<int>& word) noexcept {
  word.store(1, std::memory_order_release);  // pairs with Await
  word.notify_one();
}

void Await(const std::atomic<int>& word) noexcept { word.wait(0, std::memory_order_acquire); }

Answered Output(const Api& api, TRITONSERVER_InferenceResponse* response, std::uint32_t index) {
  const char* name = nullptr;
  const std::int64_t* shape = nullptr;
  std::uint64_t dims = 0;
  TRITONSERVER_MemoryType memory_type = TRITONSERVER_MEMORY_CPU;
  std::int64_t memory_type_id = 0;
  void* userp = nullptr;
  Answered answered;
  api.Check(api.TRITONSERVER_InferenceResponseOutput(response, index, &name, &answered.dtype, &shape, &dims,
                                                     &answered.base, &answered.byte_size, &memory_type,
                                                     &memory_type_id, &userp));
  answered.name = name;
  answered.shape = {shape, dims};
  return answered;
}

}  // namespace

Client::Client(const Server& server, const std::string& model, Payload payload)
    : server_(server),
      payload_(std::move(payload)),
      allocator_(nullptr, server.api().TRITONSERVER_ResponseAllocatorDelete),
      request_(nullptr, server.api().TRITONSERVER_InferenceRequestDelete) {
  const Api& api = server.api();
  TRITONSERVER_ResponseAllocator* allocator = nullptr;
  api.Check(api.TRITONSERVER_ResponseAllocatorNew(&allocator, Allocate, Release, nullptr));
  allocator_.reset(allocator);
  TRITONSERVER_InferenceRequest* request = nullptr;
  api.Check(api.TRITONSERVER_InferenceRequestNew(&request, server.get(), model.c_str(), -1));
  request_.reset(request);
  for (const auto& input : payload_.inputs()) {
    api.Check(api.TRITONSERVER_InferenceRequestAddInput(request, input.name.c_str(), input.dtype,
                                                        input.shape.data(), input.shape.size()));
    api.Check(api.TRITONSERVER_InferenceRequestAppendInputData(
        request, input.name.c_str(), input.words.data(), input.byte_size(), TRITONSERVER_MEMORY_CPU, 0));
  }
  api.Check(api.TRITONSERVER_InferenceRequestSetReleaseCallback(request, OnRelease, this));
  api.Check(api.TRITONSERVER_InferenceRequestSetResponseCallback(request, allocator, this, OnResponse, this));
}

Client::Outcome Client::Ask(Extent extent) {
  const Api& api = server_.api();
  payload_.Renew(extent);
  odd_buffers_.clear();
  response_ = nullptr;
  answered_.store(0, std::memory_order_relaxed);
  released_.store(0, std::memory_order_relaxed);

  const auto start = Clock::now();
  api.Check(api.TRITONSERVER_ServerInferAsync(server_.get(), request_.get(), nullptr));
  Await(answered_);
  const auto end = Clock::now();

  // The request is ours again, and may be sent again, once core has released it.
  Await(released_);
  const Response response(response_, api.TRITONSERVER_InferenceResponseDelete);
  return {.latency = end - start, .difference = Judge(response.get(), extent)};
}

std::string Client::Judge(TRITONSERVER_InferenceResponse* response, Extent extent) const {
  const Api& api = server_.api();
  if (response == nullptr) {
    return "an end without a response";
  }
  if (TRITONSERVER_Error* error = api.TRITONSERVER_InferenceResponseError(response); error != nullptr) {
    throw ServerError(api.TRITONSERVER_ErrorCodeString(error), api.TRITONSERVER_ErrorMessage(error));
  }
  std::uint32_t count = 0;
  api.Check(api.TRITONSERVER_InferenceResponseOutputCount(response, &count));
  std::vector<Answered> answer;
  answer.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    answer.push_back(Output(api, response, i));
  }
  return payload_.Difference(answer, extent);
}

// The parameters are those that core calls with.
// NOLINTNEXTLINE(readability-function-size)
TRITONSERVER_Error* Client::Allocate(TRITONSERVER_ResponseAllocator* /*allocator*/, const char* tensor_name,
                                     std::size_t byte_size, TRITONSERVER_MemoryType /*preferred*/,
                                     std::int64_t /*preferred_id*/, void* userp, void** buffer,
                                     void** buffer_userp, TRITONSERVER_MemoryType* actual_memory_type,
                                     std::int64_t* actual_memory_type_id) {
  auto& client = *static_cast<Client*>(userp);
  *buffer = client.payload_.OutputBuffer(tensor_name, byte_size);
  if (*buffer == nullptr && byte_size != 0) {
    *buffer = client.odd_buffers_.emplace_back(std::make_unique<std::byte[]>(byte_size)).get();
  }
  *buffer_userp = nullptr;
  *actual_memory_type = TRITONSERVER_MEMORY_CPU;
  *actual_memory_type_id = 0;
  return nullptr;
}

TRITONSERVER_Error* Client::Release(TRITONSERVER_ResponseAllocator* /*allocator*/, void* /*buffer*/,
                                    void* /*buffer_userp*/, std::size_t /*byte_size*/,
                                    TRITONSERVER_MemoryType /*memory_type*/,
                                    std::int64_t /*memory_type_id*/) {
  return nullptr;  // the buffers are the client's and wait for the next answer
}

void Client::OnResponse(TRITONSERVER_InferenceResponse* response, std::uint32_t flags, void* userp) {
  auto& client = *static_cast<Client*>(userp);
  if (response != nullptr) {
    client.response_ = response;
  }
  if ((flags & TRITONSERVER_RESPONSE_COMPLETE_FINAL) != 0) {
    Tell(client.answered_);
  }
}

void Client::OnRelease(TRITONSERVER_InferenceRequest* /*request*/, std::uint32_t /*flags*/, void* userp) {
  Tell(static_cast<Client*>(userp)->released_);
}

}  // namespace tpb::bench
