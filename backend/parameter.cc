#include "backend/parameter.h"

#include <bit>
#include <string>

#include "ipc/error.h"

namespace tpb::backend {

ipc::Parameter MakeParameter(const char* name, TRITONSERVER_ParameterType type, const void* value) {
  ipc::Parameter parameter{.name = name, .type = ipc::ParameterType::kString, .bits = 0, .text = {}};
  switch (type) {
    case TRITONSERVER_PARAMETER_STRING:
      parameter.text = static_cast<const char*>(value);
      return parameter;
    case TRITONSERVER_PARAMETER_INT:
      parameter.type = ipc::ParameterType::kInt;
      parameter.bits = static_cast<std::uint64_t>(*static_cast<const std::int64_t*>(value));
      return parameter;
    case TRITONSERVER_PARAMETER_BOOL:
      parameter.type = ipc::ParameterType::kBool;
      parameter.bits = *static_cast<const bool*>(value) ? 1 : 0;
      return parameter;
    case TRITONSERVER_PARAMETER_DOUBLE:
      parameter.type = ipc::ParameterType::kDouble;
      parameter.bits = std::bit_cast<std::uint64_t>(*static_cast<const double*>(value));
      return parameter;
    default:
      throw ipc::Error(ipc::Code::kInternal,
                       "Unsupported parameter type for parameter '" + std::string(name) + "'.");
  }
}

}  // namespace tpb::backend
