#include "tests/cpp/backend/bls/stand_in_models.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

namespace {

TRITONSERVER_Error* NewError(TRITONSERVER_Error_Code code, const std::string& text) {
  return new TRITONSERVER_Error{code, text};
}

}  // namespace

Models& Models::Get() {
  static Models models;
  return models;
}

void Models::Reset() {
  UseStandInCore();
  const std::scoped_lock lock(mutex_);
  for (auto* request : submitted_) {
    delete request;
  }
  submitted_.clear();
  alive_ = 0;
  served = true;
  ready = decoupled = false;
  unknown.reset();
  refusal.reset();
  answer_at_once.reset();
}

TRITONSERVER_InferenceRequest* Models::Take() {
  while (true) {
    {
      const std::scoped_lock lock(mutex_);
      if (!submitted_.empty()) {
        auto* request = submitted_.front();
        submitted_.pop_front();
        return request;
      }
    }
    std::this_thread::yield();
  }
}

std::size_t Models::submitted() {
  const std::scoped_lock lock(mutex_);
  return submitted_.size();
}

int Models::alive() {
  const std::scoped_lock lock(mutex_);
  return alive_;
}

void Models::CountAlive(int change) {
  const std::scoped_lock lock(mutex_);
  alive_ += change;
}

void Models::Submit(TRITONSERVER_InferenceRequest* request) {
  const std::scoped_lock lock(mutex_);
  submitted_.push_back(request);
}

TRITONSERVER_InferenceResponse* NewResponse(TRITONSERVER_InferenceRequest* request, const std::string& output,
                                            std::string* error) {
  void* buffer = nullptr;
  void* userp = nullptr;
  TRITONSERVER_MemoryType memory_type = TRITONSERVER_MEMORY_GPU;
  std::int64_t device = 3;
  TRITONSERVER_Error* failure =
      request->allocator->alloc(request->allocator, "OUT", output.size(), TRITONSERVER_MEMORY_GPU, 3,
                                request->allocator_userp, &buffer, &userp, &memory_type, &device);
  if (failure != nullptr) {
    if (error != nullptr) {
      *error = failure->message;
    }
    delete failure;
    return nullptr;
  }
  if (memory_type != TRITONSERVER_MEMORY_CPU || device != 0 || (buffer == nullptr && !output.empty())) {
    return nullptr;
  }
  if (!output.empty()) {
    std::memcpy(buffer, output.data(), output.size());
  }
  Models::Get().CountAlive(1);
  auto* response = new TRITONSERVER_InferenceResponse();
  response->allocator = request->allocator;
  response->outputs.push_back({.name = "OUT",
                               .dtype = TRITONSERVER_TYPE_UINT8,
                               .shape = {static_cast<std::int64_t>(output.size())},
                               .base = buffer,
                               .size = output.size()});
  return response;
}

void RespondWith(TRITONSERVER_InferenceRequest* request, TRITONSERVER_InferenceResponse* response,
                 bool final) {
  request->complete(response, final ? TRITONSERVER_RESPONSE_COMPLETE_FINAL : 0U, request->complete_userp);
}

void RespondWith(TRITONSERVER_InferenceRequest* request, const std::string& output, bool final) {
  RespondWith(request, NewResponse(request, output), final);
}

void RespondWithError(TRITONSERVER_InferenceRequest* request, TRITONSERVER_Error_Code code,
                      const std::string& text, bool final) {
  auto* response = NewResponse(request, "outputs of a failed response");
  response->error = TRITONSERVER_Error{code, text};
  RespondWith(request, response, final);
}

void RespondWithNothing(TRITONSERVER_InferenceRequest* request) {
  request->complete(nullptr, TRITONSERVER_RESPONSE_COMPLETE_FINAL, request->complete_userp);
}

void Release(TRITONSERVER_InferenceRequest* request) {
  request->release(request, TRITONSERVER_REQUEST_RELEASE_ALL, request->release_userp);
}

#pragma GCC visibility push(default)
extern "C" {

TRITONSERVER_Error* TRITONSERVER_ServerModelTransactionProperties(TRITONSERVER_Server* /*server*/,
                                                                  const char* /*model*/,
                                                                  const int64_t /*version*/, uint32_t* flags,
                                                                  void** /*unused*/) {
  if (!Models::Get().served) {
    return NewError(TRITONSERVER_ERROR_UNAVAILABLE, "not at ready state");
  }
  *flags = Models::Get().decoupled ? TRITONSERVER_TXN_DECOUPLED : TRITONSERVER_TXN_ONE_TO_ONE;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_ServerModelIsReady(TRITONSERVER_Server* /*server*/, const char* /*model*/,
                                                    const int64_t /*version*/, bool* ready) {
  if (Models::Get().unknown) {
    return NewError(TRITONSERVER_ERROR_NOT_FOUND, *Models::Get().unknown);
  }
  *ready = Models::Get().ready;
  return nullptr;
}

TRITONSERVER_Error* TRITONSERVER_InferenceRequestNew(TRITONSERVER_InferenceRequest** request,
                                                     TRITONSERVER_Server* /*server*/, const char* model,
                                                     const int64_t version) {
  *request = new TRITONSERVER_InferenceRequest();
  (*request)->model = model;
  (*request)->version = version;
  Models::Get().CountAlive(1);
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestDelete(TRITONSERVER_InferenceRequest* request) {
  delete request;
  Models::Get().CountAlive(-1);
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetId(TRITONSERVER_InferenceRequest* request,
                                                       const char* id) {
  request->id = id;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetFlags(TRITONSERVER_InferenceRequest* request,
                                                          uint32_t flags) {
  request->flags = flags;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetCorrelationId(TRITONSERVER_InferenceRequest* request,
                                                                  uint64_t id) {
  request->correlation = std::to_string(id);
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetCorrelationIdString(
    TRITONSERVER_InferenceRequest* request, const char* id) {
  request->correlation = id;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetTimeoutMicroseconds(
    TRITONSERVER_InferenceRequest* request, uint64_t timeout_us) {
  request->timeout_us = timeout_us;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetStringParameter(TRITONSERVER_InferenceRequest* request,
                                                                    const char* key, const char* value) {
  request->parameters[key] = value;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetIntParameter(TRITONSERVER_InferenceRequest* request,
                                                                 const char* key, const int64_t value) {
  request->parameters[key] = std::to_string(value);
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetBoolParameter(TRITONSERVER_InferenceRequest* request,
                                                                  const char* key, const bool value) {
  request->parameters[key] = value ? "true" : "false";
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetDoubleParameter(TRITONSERVER_InferenceRequest* request,
                                                                    const char* key, const double value) {
  request->parameters[key] = std::to_string(value);
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestAddInput(TRITONSERVER_InferenceRequest* request,
                                                          const char* name, const TRITONSERVER_DataType dtype,
                                                          const int64_t* shape, uint64_t dims) {
  request->inputs.push_back({.name = name, .dtype = dtype, .shape = {shape, shape + dims}});
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestAppendInputData(TRITONSERVER_InferenceRequest* request,
                                                                 const char* name, const void* base,
                                                                 size_t size,
                                                                 TRITONSERVER_MemoryType /*memory_type*/,
                                                                 int64_t /*device*/) {
  for (auto& input : request->inputs) {
    if (input.name == name) {
      input.base = static_cast<const char*>(base);
      input.size = size;
    }
  }
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestAddRequestedOutput(TRITONSERVER_InferenceRequest* request,
                                                                    const char* name) {
  request->requested_outputs.emplace_back(name);
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetReleaseCallback(
    TRITONSERVER_InferenceRequest* request, TRITONSERVER_InferenceRequestReleaseFn_t release, void* userp) {
  request->release = release;
  request->release_userp = userp;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetResponseCallback(
    TRITONSERVER_InferenceRequest* request, TRITONSERVER_ResponseAllocator* allocator, void* allocator_userp,
    TRITONSERVER_InferenceResponseCompleteFn_t complete, void* userp) {
  request->allocator = allocator;
  request->allocator_userp = allocator_userp;
  request->complete = complete;
  request->complete_userp = userp;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceRequestCancel(TRITONSERVER_InferenceRequest* request) {
  request->cancelled = true;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_ServerInferAsync(TRITONSERVER_Server* /*server*/,
                                                  TRITONSERVER_InferenceRequest* request,
                                                  TRITONSERVER_InferenceTrace* /*trace*/) {
  Models& models = Models::Get();
  if (models.refusal) {
    return NewError(TRITONSERVER_ERROR_INVALID_ARG, *models.refusal);
  }
  if (models.answer_at_once) {
    RespondWith(request, *models.answer_at_once);
    Release(request);
  } else {
    models.Submit(request);
  }
  return nullptr;
}

TRITONSERVER_Error* TRITONSERVER_ResponseAllocatorNew(TRITONSERVER_ResponseAllocator** allocator,
                                                      TRITONSERVER_ResponseAllocatorAllocFn_t alloc,
                                                      TRITONSERVER_ResponseAllocatorReleaseFn_t release,
                                                      TRITONSERVER_ResponseAllocatorStartFn_t /*start*/) {
  *allocator = new TRITONSERVER_ResponseAllocator{.alloc = alloc, .release = release};
  Models::Get().CountAlive(1);
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_ResponseAllocatorSetQueryFunction(
    TRITONSERVER_ResponseAllocator* /*allocator*/, TRITONSERVER_ResponseAllocatorQueryFn_t /*query*/) {
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_ResponseAllocatorDelete(TRITONSERVER_ResponseAllocator* allocator) {
  delete allocator;
  Models::Get().CountAlive(-1);
  return nullptr;
}

TRITONSERVER_Error* TRITONSERVER_InferenceResponseError(TRITONSERVER_InferenceResponse* response) {
  return response->error ? &*response->error : nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceResponseParameterCount(TRITONSERVER_InferenceResponse* response,
                                                                 uint32_t* count) {
  *count = static_cast<uint32_t>(response->parameters.size());
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceResponseParameter(TRITONSERVER_InferenceResponse* response,
                                                            const uint32_t index, const char** name,
                                                            TRITONSERVER_ParameterType* type,
                                                            const void** value) {
  const auto& parameter = response->parameters[index];
  *name = parameter.name.c_str();
  *type = parameter.type;
  *value = &parameter.number;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceResponseOutputCount(TRITONSERVER_InferenceResponse* response,
                                                              uint32_t* count) {
  *count = static_cast<uint32_t>(response->outputs.size());
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceResponseOutput(TRITONSERVER_InferenceResponse* response,
                                                         const uint32_t index, const char** name,
                                                         TRITONSERVER_DataType* dtype, const int64_t** shape,
                                                         uint64_t* dims, const void** base, size_t* size,
                                                         TRITONSERVER_MemoryType* memory_type,
                                                         int64_t* device, void** userp) {
  const auto& output = response->outputs[index];
  *name = output.name.c_str();
  *dtype = output.dtype;
  *shape = output.shape.data();
  *dims = output.shape.size();
  *base = output.base;
  *size = output.size;
  *memory_type = TRITONSERVER_MEMORY_CPU;
  *device = 0;
  *userp = nullptr;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceResponseDelete(TRITONSERVER_InferenceResponse* response) {
  for (const auto& output : response->outputs) {
    delete response->allocator->release(response->allocator, const_cast<void*>(output.base), nullptr,
                                        output.size, TRITONSERVER_MEMORY_CPU, 0);
  }
  delete response;
  Models::Get().CountAlive(-1);
  return nullptr;
}

}  // extern "C"
#pragma GCC visibility pop
