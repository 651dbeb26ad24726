// Other models, as a call meets them: a stand-in for the part of Triton's core that runs requests of models.
// A request that was submitted waits until the test answers it, in whatever order and on whatever thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tests/cpp/backend/stand_in_core.h"
#include "triton_c_api/types.h"

struct TRITONSERVER_InferenceRequest {
  struct Input {
    std::string name;
    TRITONSERVER_DataType dtype;
    std::vector<std::int64_t> shape;
    const char* base = nullptr;
    std::size_t size = 0;
  };

  std::string model;
  std::int64_t version = 0;
  std::string id;
  std::uint32_t flags = 0;
  std::string correlation;
  std::uint64_t timeout_us = 0;
  std::map<std::string, std::string> parameters;
  std::vector<Input> inputs;
  std::vector<std::string> requested_outputs;
  TRITONSERVER_InferenceRequestReleaseFn_t release = nullptr;
  void* release_userp = nullptr;
  TRITONSERVER_ResponseAllocator* allocator = nullptr;
  void* allocator_userp = nullptr;
  TRITONSERVER_InferenceResponseCompleteFn_t complete = nullptr;
  void* complete_userp = nullptr;
  bool cancelled = false;
};

struct TRITONSERVER_InferenceResponse {
  struct Output {
    std::string name;
    TRITONSERVER_DataType dtype;
    std::vector<std::int64_t> shape;
    const void* base = nullptr;
    std::size_t size = 0;
  };
  struct Parameter {
    std::string name;
    TRITONSERVER_ParameterType type;
    std::int64_t number;
  };

  TRITONSERVER_ResponseAllocator* allocator = nullptr;
  std::vector<Output> outputs;
  std::vector<Parameter> parameters;
  std::optional<TRITONSERVER_Error> error;
};

struct TRITONSERVER_ResponseAllocator {
  TRITONSERVER_ResponseAllocatorAllocFn_t alloc;
  TRITONSERVER_ResponseAllocatorReleaseFn_t release;
};

// What the stand-in does with calls, and what it has of them. One at a time: its functions know no other.
class Models {
 public:
  static Models& Get();

  // As after the start of a server: every model is served, nothing was submitted. What tests left is deleted.
  void Reset();

  // How core sees models; set by the test.
  bool served = true;
  bool ready = false;
  bool decoupled = false;
  std::optional<std::string> unknown;         // what ServerModelIsReady fails with
  std::optional<std::string> refusal;         // what ServerInferAsync fails with
  std::optional<std::string> answer_at_once;  // within ServerInferAsync, with this output

  // The oldest request that was submitted and not taken; waits for it.
  TRITONSERVER_InferenceRequest* Take();
  [[nodiscard]] std::size_t submitted();

  // Objects that core would still hold memory for.
  [[nodiscard]] int alive();
  void CountAlive(int change);
  void Submit(TRITONSERVER_InferenceRequest* request);

 private:
  std::mutex mutex_;
  std::deque<TRITONSERVER_InferenceRequest*> submitted_;
  int alive_ = 0;
};

// What core does for another model that answers `request`. A response without FINAL may be followed by
// others.
void RespondWith(TRITONSERVER_InferenceRequest* request, const std::string& output, bool final = true);
void RespondWithError(TRITONSERVER_InferenceRequest* request, TRITONSERVER_Error_Code code,
                      const std::string& text, bool final = true);
void RespondWith(TRITONSERVER_InferenceRequest* request, TRITONSERVER_InferenceResponse* response,
                 bool final = true);
void RespondWithNothing(TRITONSERVER_InferenceRequest* request);
void Release(TRITONSERVER_InferenceRequest* request);

// A response of `request` with one UINT8 output, in a buffer of the request's allocator; null when that has
// no room, and then `error` is why.
TRITONSERVER_InferenceResponse* NewResponse(TRITONSERVER_InferenceRequest* request, const std::string& output,
                                            std::string* error = nullptr);
