#include "backend/output.h"

#include "ipc/bytes.h"
#include "ipc/copy.h"
#include "ipc/dtype.h"
#include "ipc/error.h"

namespace tpb::backend {
namespace {

std::string Describe(const ipc::Tensor& tensor) { return "output '" + std::string(tensor.name) + "'"; }

void CheckOutput(const ipc::Tensor& tensor) {
  if (tensor.memory_type == ipc::MemoryType::kGpu) {
    throw ipc::ProtocolError("the stub process describes " + Describe(tensor) + " in GPU memory");
  }
  const auto size = ipc::ByteSize(tensor.dtype, tensor.shape);
  if (!size || !ipc::ElementCount(tensor.shape)) {
    throw ipc::ProtocolError("the stub process describes " + Describe(tensor) + " with an impossible shape");
  }
  if (tensor.dtype != ipc::DataType::kBytes && *size != tensor.size) {
    throw ipc::ProtocolError("the stub process describes " + Describe(tensor) + " with " +
                             std::to_string(tensor.size) + " bytes, its shape needs " +
                             std::to_string(*size));
  }
}

// `copied` is out of the stub's reach: what is right now stays so. Only our own code in the stub encodes
// these tensors, never the model's, so one that is wrong is as much a lie as a wrong size is.
void CheckBytes(const ipc::Tensor& tensor, std::span<const std::byte> copied) {
  const std::uint64_t count = ipc::ElementCount(tensor.shape).value_or(0);
  if (const std::string fault = ipc::FaultOfBytes(copied, count, Describe(tensor)); !fault.empty()) {
    throw ipc::ProtocolError("the stub process sent a BYTES tensor that is none: " + fault);
  }
}

}  // namespace

std::span<const std::byte> CheckedPayload(const ipc::Tensor& tensor, const Payloads& payloads) {
  CheckOutput(tensor);
  return payloads.Bytes(tensor);
}

void FillBuffer(const OutputBuffer& buffer, const ipc::Tensor& tensor, std::span<const std::byte> payload,
                const std::string& instance_name) {
  if (buffer.memory_type == TRITONSERVER_MEMORY_GPU) {
    throw ipc::Error(ipc::Code::kUnsupported,
                     Describe(tensor) + " of model instance '" + instance_name +
                         "' is wanted in GPU memory (device " + std::to_string(buffer.device_id) +
                         "): the Python backend gives tensors in CPU memory only, ask for it there");
  }
  ipc::Copy(buffer.data, payload.data(), payload.size());
  if (tensor.dtype == ipc::DataType::kBytes) {
    CheckBytes(tensor, {static_cast<const std::byte*>(buffer.data), payload.size()});
  }
}

}  // namespace tpb::backend
