// One tensor that a stub gave, checked, and copied into a buffer of core's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "backend/payloads.h"
#include "ipc/messages.h"
#include "triton_c_api/types.h"

namespace tpb::backend {

// Where core wants a tensor.
struct OutputBuffer {
  void* data = nullptr;
  TRITONSERVER_MemoryType memory_type = TRITONSERVER_MEMORY_CPU;
  std::int64_t device_id = 0;
};

// The bytes of `tensor`. Throws ProtocolError when they are not what its type and shape say, or not the
// stub's.
std::span<const std::byte> CheckedPayload(const ipc::Tensor& tensor, const Payloads& payloads);

// Copies them. Throws ipc::Error for a buffer in GPU memory, and ProtocolError for a BYTES tensor that is
// none.
void FillBuffer(const OutputBuffer& buffer, const ipc::Tensor& tensor, std::span<const std::byte> payload,
                const std::string& instance_name);

}  // namespace tpb::backend
