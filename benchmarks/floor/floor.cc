// A backend that does the least that a backend can do: it copies, in the server's process. What a request
// costs here is what it costs in Triton's core and in memory; no Python backend can be faster.
//
// A model with one input IN gets it back as OUT, whatever its type. A model with INPUT0 and INPUT1 of FP32
// gets their sum OUTPUT0 and difference OUTPUT1. Models may have the same config.pbtxt as for the Python
// backend, but for `backend: "floor"`.
#include <chrono>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>

#include "triton_c_api/entry_points.h"
#include "triton_c_api/resolve.h"

namespace {

using tpb::triton::Api;

std::uint64_t Now() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

void Check(TRITONSERVER_Error* error) {
  if (error != nullptr) {
    const std::runtime_error thrown(Api().TRITONSERVER_ErrorMessage(error));
    Api().TRITONSERVER_ErrorDelete(error);
    throw std::runtime_error(thrown);
  }
}

// For what can only fail when core is broken.
void Ignore(TRITONSERVER_Error* error) {
  if (error != nullptr) {
    Api().TRITONSERVER_ErrorDelete(error);
  }
}

struct Input {
  TRITONSERVER_DataType dtype = TRITONSERVER_TYPE_INVALID;
  std::span<const std::int64_t> shape;
  std::span<const std::byte> bytes;
};

Input ReadInput(TRITONBACKEND_Request* request, std::uint32_t index) {
  TRITONBACKEND_Input* handle = nullptr;
  Check(Api().TRITONBACKEND_RequestInputByIndex(request, index, &handle));
  Input input;
  const char* name = nullptr;
  const std::int64_t* shape = nullptr;
  std::uint32_t dims = 0;
  std::uint64_t size = 0;
  std::uint32_t buffers = 0;
  Check(Api().TRITONBACKEND_InputProperties(handle, &name, &input.dtype, &shape, &dims, &size, &buffers));
  if (buffers != 1) {
    throw std::runtime_error(std::string(name) + " lies in several buffers, the floor backend takes one");
  }
  const void* base = nullptr;
  TRITONSERVER_MemoryType memory_type = TRITONSERVER_MEMORY_CPU;
  std::int64_t memory_type_id = 0;
  Check(Api().TRITONBACKEND_InputBuffer(handle, 0, &base, &size, &memory_type, &memory_type_id));
  input.shape = {shape, dims};
  input.bytes = {static_cast<const std::byte*>(base), size};
  return input;
}

// An output like `model` in everything but its values.
std::byte* AddOutput(TRITONBACKEND_Response* response, const char* name, const Input& model) {
  TRITONBACKEND_Output* output = nullptr;
  Check(Api().TRITONBACKEND_ResponseOutput(response, &output, name, model.dtype, model.shape.data(),
                                           static_cast<std::uint32_t>(model.shape.size())));
  void* base = nullptr;
  TRITONSERVER_MemoryType memory_type = TRITONSERVER_MEMORY_CPU;
  std::int64_t memory_type_id = 0;
  Check(Api().TRITONBACKEND_OutputBuffer(output, &base, model.bytes.size(), &memory_type, &memory_type_id));
  return static_cast<std::byte*>(base);
}

void Identity(TRITONBACKEND_Request* request, TRITONBACKEND_Response* response) {
  const Input input = ReadInput(request, 0);
  std::memcpy(AddOutput(response, "OUT", input), input.bytes.data(), input.bytes.size());
}

void AddSub(TRITONBACKEND_Request* request, TRITONBACKEND_Response* response) {
  const Input first = ReadInput(request, 0);
  const Input second = ReadInput(request, 1);
  if (first.dtype != TRITONSERVER_TYPE_FP32 || second.dtype != TRITONSERVER_TYPE_FP32 ||
      first.bytes.size() != second.bytes.size()) {
    throw std::runtime_error("the floor backend adds FP32 tensors of one size");
  }
  const auto* a = reinterpret_cast<const float*>(first.bytes.data());
  const auto* b = reinterpret_cast<const float*>(second.bytes.data());
  auto* sum = reinterpret_cast<float*>(AddOutput(response, "OUTPUT0", first));
  auto* difference = reinterpret_cast<float*>(AddOutput(response, "OUTPUT1", first));
  for (std::size_t i = 0; i < first.bytes.size() / sizeof(float); ++i) {
    sum[i] = a[i] + b[i];
    difference[i] = a[i] - b[i];
  }
}

void Fail(TRITONBACKEND_Response* response, const char* reason) {
  TRITONSERVER_Error* error = Api().TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, reason);
  Ignore(Api().TRITONBACKEND_ResponseSend(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error));
  Api().TRITONSERVER_ErrorDelete(error);
}

// Fills the response and sends it, or an error in its place; whether it has tensors.
bool Answer(TRITONBACKEND_Request* request, TRITONBACKEND_Response* response) {
  try {
    std::uint32_t inputs = 0;
    Check(Api().TRITONBACKEND_RequestInputCount(request, &inputs));
    inputs == 1 ? Identity(request, response) : AddSub(request, response);
  } catch (const std::exception& error) {
    Fail(response, error.what());
    return false;
  }
  Ignore(Api().TRITONBACKEND_ResponseSend(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL, nullptr));
  return true;
}

void Execute(TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request* request) {
  const std::uint64_t start = Now();
  TRITONBACKEND_Response* response = nullptr;
  Ignore(Api().TRITONBACKEND_ResponseNew(&response, request));
  const bool answered = response != nullptr && Answer(request, response);
  const std::uint64_t end = Now();
  Ignore(
      Api().TRITONBACKEND_ModelInstanceReportStatistics(instance, request, answered, start, start, end, end));
  Ignore(Api().TRITONBACKEND_RequestRelease(request, TRITONSERVER_REQUEST_RELEASE_ALL));
  Ignore(Api().TRITONBACKEND_ModelInstanceReportBatchStatistics(instance, 1, start, start, end, end));
}

}  // namespace

extern "C" {

TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend* /*backend*/) noexcept {
  return tpb::triton::CheckCaller(__builtin_return_address(0));
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* instance,
                                                       TRITONBACKEND_Request** requests,
                                                       const uint32_t request_count) noexcept {
  for (TRITONBACKEND_Request* request : std::span(requests, request_count)) {
    Execute(instance, request);
  }
  return nullptr;
}

}  // extern "C"
