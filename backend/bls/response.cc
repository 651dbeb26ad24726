#include "backend/bls/response.h"

#include <string_view>
#include <utility>

#include "backend/parameter.h"
#include "backend/triton_error.h"
#include "ipc/codec.h"

namespace tpb::backend::bls {
namespace {

std::vector<std::byte> Encoded(const ipc::Response& response) {
  ipc::Writer writer;
  ipc::Encode(response, writer);
  return {writer.bytes().begin(), writer.bytes().end()};
}

ipc::Parameter ReadParameter(TRITONSERVER_InferenceResponse* response, std::uint32_t index) {
  const char* name = nullptr;
  TRITONSERVER_ParameterType type = TRITONSERVER_PARAMETER_STRING;
  const void* value = nullptr;
  Check(triton::Api().TRITONSERVER_InferenceResponseParameter(response, index, &name, &type, &value));
  return MakeParameter(name, type, value);
}

struct Output {
  ipc::Tensor tensor;
  ipc::Block block;  // invalid for an output without bytes
};

Output ReadOutput(TRITONSERVER_InferenceResponse* response, std::uint32_t index, OutputBuffers& buffers) {
  const char* name = nullptr;
  TRITONSERVER_DataType dtype = TRITONSERVER_TYPE_INVALID;
  const std::int64_t* shape = nullptr;
  std::uint64_t dims = 0;
  const void* base = nullptr;
  std::size_t size = 0;
  TRITONSERVER_MemoryType memory_type = TRITONSERVER_MEMORY_CPU;
  std::int64_t device_id = 0;
  void* userp = nullptr;
  Check(triton::Api().TRITONSERVER_InferenceResponseOutput(response, index, &name, &dtype, &shape, &dims,
                                                           &base, &size, &memory_type, &device_id, &userp));
  Output output;
  output.tensor.name = name;
  output.tensor.dtype = static_cast<ipc::DataType>(dtype);
  output.tensor.shape = {shape, dims};
  output.tensor.size = size;
  output.block = buffers.Take(base);
  if (size != 0 && (!output.block.valid() || output.block.size() < size)) {
    throw ipc::Error(ipc::Code::kInternal,
                     "output '" + std::string(name) + "' lies where nobody asked for it");
  }
  return output;
}

std::vector<ipc::LeaseRecord> LeaseBlocks(std::vector<Output>& outputs, Leases& leases) {
  std::vector<ipc::LeaseRecord> records;
  records.reserve(outputs.size());
  for (Output& output : outputs) {
    if (output.block.valid()) {
      records.push_back(leases.Add(std::move(output.block)));
      output.tensor.place = ipc::Place::kServerArena;
      output.tensor.lease = records.back().lease;
    }
  }
  return records;
}

}  // namespace

Taken ReadResponse(TRITONSERVER_InferenceResponse* response, OutputBuffers& buffers, Leases& leases) {
  const auto& api = triton::Api();
  if (TRITONSERVER_Error* error = api.TRITONSERVER_InferenceResponseError(response); error != nullptr) {
    return ErrorResponse(ipc::CodeFromWire(api.TRITONSERVER_ErrorCode(error)),
                         api.TRITONSERVER_ErrorMessage(error));
  }
  ipc::Response message;
  message.kind = ipc::ResponseKind::kTensors;
  std::uint32_t count = 0;
  Check(api.TRITONSERVER_InferenceResponseParameterCount(response, &count));
  for (std::uint32_t i = 0; i < count; ++i) {
    message.parameters.push_back(ReadParameter(response, i));
  }
  Check(api.TRITONSERVER_InferenceResponseOutputCount(response, &count));
  std::vector<Output> outputs;
  outputs.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    outputs.push_back(ReadOutput(response, i, buffers));
  }
  Taken taken;
  taken.leases = LeaseBlocks(outputs, leases);
  for (const Output& output : outputs) {
    message.outputs.push_back(output.tensor);
  }
  try {
    taken.body = Encoded(message);
  } catch (...) {
    leases.Drop(taken.leases);
    throw;
  }
  return taken;
}

Taken ErrorResponse(ipc::Code code, const std::string& text) {
  ipc::Response message;
  message.kind = ipc::ResponseKind::kError;
  message.code = code;
  message.text = text;
  return {.body = Encoded(message), .leases = {}};
}

Taken EmptyResponse() { return {.body = Encoded(ipc::Response{}), .leases = {}}; }

}  // namespace tpb::backend::bls
