// A client that asks one model: one request at a time, always the same request object and the same buffers,
// as a well-made client would.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/generator/payload.h"
#include "benchmarks/generator/server.h"

namespace tpb::bench {

class Client {
 public:
  struct Outcome {
    // From handing the request over until this thread runs with the answer.
    std::chrono::nanoseconds latency{};
    // Empty for a right answer.
    std::string difference;
  };

  // `server` must outlive the client. Core keeps a pointer to the client: it stays where it is made.
  Client(const Server& server, const std::string& model, Payload payload);
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  Client(Client&&) = delete;
  Client& operator=(Client&&) = delete;
  ~Client() = default;

  // Asks, waits, checks. Throws ServerError when the answer is an error.
  Outcome Ask(Extent extent);

 private:
  using Request =
      std::unique_ptr<TRITONSERVER_InferenceRequest, TRITONSERVER_Error* (*)(TRITONSERVER_InferenceRequest*)>;
  using Allocator = std::unique_ptr<TRITONSERVER_ResponseAllocator,
                                    TRITONSERVER_Error* (*)(TRITONSERVER_ResponseAllocator*)>;
  using Response = std::unique_ptr<TRITONSERVER_InferenceResponse,
                                   TRITONSERVER_Error* (*)(TRITONSERVER_InferenceResponse*)>;

  static TRITONSERVER_Error* Allocate(TRITONSERVER_ResponseAllocator* allocator, const char* tensor_name,
                                      std::size_t byte_size, TRITONSERVER_MemoryType preferred_memory_type,
                                      std::int64_t preferred_memory_type_id, void* userp, void** buffer,
                                      void** buffer_userp, TRITONSERVER_MemoryType* actual_memory_type,
                                      std::int64_t* actual_memory_type_id);
  static TRITONSERVER_Error* Release(TRITONSERVER_ResponseAllocator* allocator, void* buffer,
                                     void* buffer_userp, std::size_t byte_size,
                                     TRITONSERVER_MemoryType memory_type, std::int64_t memory_type_id);
  static void OnResponse(TRITONSERVER_InferenceResponse* response, std::uint32_t flags, void* userp);
  static void OnRelease(TRITONSERVER_InferenceRequest* request, std::uint32_t flags, void* userp);

  [[nodiscard]] std::string Judge(TRITONSERVER_InferenceResponse* response, Extent extent) const;

  const Server& server_;
  Payload payload_;
  // Outputs that are not due, or of another size, go here: wrong, but they need a place.
  std::vector<std::unique_ptr<std::byte[]>> odd_buffers_;
  Allocator allocator_;
  Request request_;
  // Written by a thread of core, then told through the words below.
  TRITONSERVER_InferenceResponse* response_ = nullptr;
  std::atomic<int> answered_{0};
  std::atomic<int> released_{0};
};

}  // namespace tpb::bench
