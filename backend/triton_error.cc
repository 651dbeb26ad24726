#include "backend/triton_error.h"

namespace tpb::backend {

TRITONSERVER_Error* NewTritonError(ipc::Code code, const std::string& message) noexcept {
  return triton::Api().TRITONSERVER_ErrorNew(static_cast<TRITONSERVER_Error_Code>(code), message.c_str());
}

void Check(TRITONSERVER_Error* error) {
  if (error == nullptr) {
    return;
  }
  const auto& api = triton::Api();
  ipc::Error copy(ipc::CodeFromWire(static_cast<std::uint32_t>(api.TRITONSERVER_ErrorCode(error))),
                  api.TRITONSERVER_ErrorMessage(error));
  api.TRITONSERVER_ErrorDelete(error);
  throw copy;
}

void LogFailure(TRITONSERVER_Error* error, std::string_view what) noexcept {
  if (error == nullptr) {
    return;
  }
  const auto& api = triton::Api();
  Log(TRITONSERVER_LOG_ERROR, __FILE__, __LINE__,
      std::string(what) + ": " + api.TRITONSERVER_ErrorMessage(error));
  api.TRITONSERVER_ErrorDelete(error);
}

void Log(TRITONSERVER_LogLevel level, const char* file, int line, const std::string& message) noexcept {
  const auto& api = triton::Api();
  if (!api.TRITONSERVER_LogIsEnabled(level)) {
    return;
  }
  if (TRITONSERVER_Error* error = api.TRITONSERVER_LogMessage(level, file, line, message.c_str());
      error != nullptr) {
    api.TRITONSERVER_ErrorDelete(error);
  }
}

}  // namespace tpb::backend
