#include "backend/state.h"

#include <algorithm>
#include <cstdint>

#include "backend/output.h"
#include "backend/triton_error.h"

namespace tpb::backend {
namespace {

bool IsRequested(TRITONBACKEND_Request* request, std::string_view output) {
  const auto& api = triton::Api();
  std::uint32_t count = 0;
  Check(api.TRITONBACKEND_RequestOutputCount(request, &count));
  for (std::uint32_t i = 0; i < count; ++i) {
    const char* name = nullptr;
    Check(api.TRITONBACKEND_RequestOutputName(request, i, &name));
    if (output == name) {
      return true;
    }
  }
  return false;
}

}  // namespace

bool StateOutputs::Contains(std::string_view name) const noexcept {
  return std::ranges::find(names_, name) != names_.end();
}

bool StateOutputs::Update(TRITONBACKEND_Request* request, const ipc::Tensor& output, const Payloads& payloads,
                          const std::string& instance_name) const {
  const auto& api = triton::Api();
  const auto payload = CheckedPayload(output, payloads);
  TRITONBACKEND_State* state = nullptr;  // stays the request's
  Check(api.TRITONBACKEND_StateNew(&state, request, std::string(output.name).c_str(),
                                   static_cast<TRITONSERVER_DataType>(output.dtype), output.shape.data(),
                                   static_cast<std::uint32_t>(output.shape.size())));
  OutputBuffer buffer;
  Check(api.TRITONBACKEND_StateBuffer(state, &buffer.data, payload.size(), &buffer.memory_type,
                                      &buffer.device_id));
  FillBuffer(buffer, output, payload, instance_name);
  Check(api.TRITONBACKEND_StateUpdate(state));
  return IsRequested(request, output.name);
}

}  // namespace tpb::backend
