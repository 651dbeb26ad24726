#include "tests/cpp/backend/stand_in_core.h"

#include <atomic>
#include <cstring>

#include "triton_c_api/resolve.h"

#pragma GCC visibility push(default)
extern "C" {

TRITONSERVER_Error* TRITONSERVER_ApiVersion(uint32_t* major, uint32_t* minor) {
  *major = 1;
  *minor = 34;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_ErrorNew(TRITONSERVER_Error_Code code, const char* message) {
  return new TRITONSERVER_Error{code, message};
}
void TRITONSERVER_ErrorDelete(TRITONSERVER_Error* error) { delete error; }
TRITONSERVER_Error_Code TRITONSERVER_ErrorCode(TRITONSERVER_Error* error) { return error->code; }
const char* TRITONSERVER_ErrorMessage(TRITONSERVER_Error* error) { return error->message.c_str(); }
bool TRITONSERVER_LogIsEnabled(TRITONSERVER_LogLevel level) {
  return ((LogOfStandIn().enabled >> level) & 1U) != 0;
}
TRITONSERVER_Error* TRITONSERVER_LogMessage(TRITONSERVER_LogLevel level, const char* file, const int line,
                                            const char* message) {
  LogOfStandIn().lines.push_back(std::to_string(level) + " " + file + ":" + std::to_string(line) + " " +
                                 message);
  return nullptr;
}

TRITONSERVER_Error* TRITONBACKEND_RequestId(TRITONBACKEND_Request* request, const char** id) {
  *id = request->id.c_str();
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestCorrelationId(TRITONBACKEND_Request* /*request*/, uint64_t* id) {
  *id = 0;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestFlags(TRITONBACKEND_Request* /*request*/, uint32_t* flags) {
  *flags = 0;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestTrace(TRITONBACKEND_Request* /*request*/,
                                               TRITONSERVER_InferenceTrace** trace) {
  *trace = nullptr;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_InferenceRequestTimeoutMicroseconds(TRITONBACKEND_Request* /*request*/,
                                                                      uint64_t* timeout) {
  *timeout = 0;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestParameterCount(TRITONBACKEND_Request* /*request*/, uint32_t* count) {
  *count = 0;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestOutputCount(TRITONBACKEND_Request* /*request*/, uint32_t* count) {
  *count = 0;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestInputCount(TRITONBACKEND_Request* request, uint32_t* count) {
  *count = static_cast<uint32_t>(request->inputs.size());
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestInputByIndex(TRITONBACKEND_Request* request, const uint32_t index,
                                                      TRITONBACKEND_Input** input) {
  *input = &request->inputs[index];
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_InputProperties(TRITONBACKEND_Input* input, const char** name,
                                                  TRITONSERVER_DataType* dtype, const int64_t** shape,
                                                  uint32_t* dims, uint64_t* size, uint32_t* buffers) {
  *name = input->name.c_str();
  *dtype = input->dtype;
  *shape = input->shape.data();
  *dims = static_cast<uint32_t>(input->shape.size());
  *size = input->claimed_size;
  *buffers = static_cast<uint32_t>(input->buffers.size());
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_InputBuffer(TRITONBACKEND_Input* input, const uint32_t index,
                                              const void** buffer, uint64_t* size,
                                              TRITONSERVER_MemoryType* memory_type, int64_t* device) {
  // A pointer that nobody may follow, as one of a GPU would be.
  const bool gpu = input->memory_type == TRITONSERVER_MEMORY_GPU;
  *buffer = gpu ? reinterpret_cast<const void*>(8) : input->buffers[index].data();
  *size = input->buffers[index].size();
  *memory_type = input->memory_type;
  *device = gpu ? 3 : 0;
  return nullptr;
}

TRITONSERVER_Error* TRITONBACKEND_ResponseNew(TRITONBACKEND_Response** response,
                                              TRITONBACKEND_Request* request) {
  *response = new TRITONBACKEND_Response{request, {}, {}};
  (*response)->outputs.reserve(16);
  (*response)->handles.reserve(16);
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseDelete(TRITONBACKEND_Response* response) {
  delete response;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseOutput(TRITONBACKEND_Response* response,
                                                 TRITONBACKEND_Output** output, const char* /*name*/,
                                                 const TRITONSERVER_DataType /*dtype*/,
                                                 const int64_t* /*shape*/, const uint32_t /*dims*/) {
  response->handles.push_back({response, response->outputs.size()});
  response->outputs.emplace_back();
  *output = &response->handles.back();
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_OutputBuffer(TRITONBACKEND_Output* output, void** buffer,
                                               const uint64_t size, TRITONSERVER_MemoryType* memory_type,
                                               int64_t* device) {
  std::string& payload = output->response->outputs[output->index];
  payload.resize(size);
  *memory_type = output->response->request->output_memory_type;
  const bool gpu = *memory_type == TRITONSERVER_MEMORY_GPU;
  *buffer = gpu ? reinterpret_cast<void*>(8) : payload.data();
  *device = gpu ? 5 : 0;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseSend(TRITONBACKEND_Response* response, const uint32_t flags,
                                               TRITONSERVER_Error* error) {
  Sent& sent = response->request->sent;
  ++sent.responses;
  sent.finals += (flags & TRITONSERVER_RESPONSE_COMPLETE_FINAL) != 0 ? 1 : 0;
  if (error != nullptr) {
    sent.failed = true;
    sent.code = error->code;
    sent.message = error->message;
  }
  sent.outputs = std::move(response->outputs);
  delete response;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestRelease(TRITONBACKEND_Request* request, uint32_t flags) {
  request->rescheduled = (flags & TRITONSERVER_REQUEST_RELEASE_RESCHEDULE) != 0;
  std::atomic_ref(request->released) = true;  // on any thread
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportStatistics(TRITONBACKEND_ModelInstance* /*instance*/,
                                                                TRITONBACKEND_Request* request,
                                                                const bool success, const uint64_t /*start*/,
                                                                const uint64_t /*compute_start*/,
                                                                const uint64_t /*compute_end*/,
                                                                const uint64_t /*end*/) {
  request->reported = true;
  request->success = success;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportBatchStatistics(
    TRITONBACKEND_ModelInstance* /*instance*/, const uint64_t /*size*/, const uint64_t /*start*/,
    const uint64_t /*compute_start*/, const uint64_t /*compute_end*/, const uint64_t /*end*/) {
  return nullptr;
}

}  // extern "C"
#pragma GCC visibility pop

StandInLog& LogOfStandIn() {
  static StandInLog log;
  return log;
}

void UseStandInCore() { tpb::triton::Resolve(reinterpret_cast<const void*>(&TRITONSERVER_ApiVersion)); }

TRITONBACKEND_Request MakeRequest(const std::string& input_name, const std::string& payload) {
  TRITONBACKEND_Request request;
  TRITONBACKEND_Input input;
  input.name = input_name;
  input.shape = {static_cast<std::int64_t>(payload.size() / 4)};
  input.buffers = {payload};
  input.claimed_size = payload.size();
  request.inputs.push_back(input);
  return request;
}

TRITONBACKEND_Request MakeBytesRequest(const std::string& payload, std::int64_t count) {
  TRITONBACKEND_Request request = MakeRequest("IN", payload);
  request.inputs[0].dtype = TRITONSERVER_TYPE_BYTES;
  request.inputs[0].shape = {count};
  return request;
}

std::string BytesElement(const std::string& text) {
  const auto length = static_cast<std::uint32_t>(text.size());
  std::string encoded(sizeof length, '\0');
  std::memcpy(encoded.data(), &length, sizeof length);
  return encoded + text;
}
