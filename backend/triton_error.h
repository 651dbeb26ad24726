// Error <-> TRITONSERVER_Error*, in one place: nothing else of the backend turns the one into the other.
#pragma once

#include <exception>
#include <string>
#include <string_view>

#include "ipc/error.h"
#include "triton_c_api/resolve.h"

namespace tpb::backend {

TRITONSERVER_Error* NewTritonError(ipc::Code code, const std::string& message) noexcept;

// Throws what a call of the C API returned, and deletes it; nothing for null.
void Check(TRITONSERVER_Error* error);

// For calls whose failure can only be noted: logs `what` and the error, and deletes it.
void LogFailure(TRITONSERVER_Error* error, std::string_view what) noexcept;

void Log(TRITONSERVER_LogLevel level, const char* file, int line, const std::string& message) noexcept;

// Runs `body` and turns whatever it throws into the error that the C API expects. Every entry point that
// returns an error is one call of this, so that no exception reaches the server.
template <typename Body>
TRITONSERVER_Error* Guard(Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const ipc::Error& error) {
    return NewTritonError(error.code(), error.message());
  } catch (const std::exception& error) {
    return NewTritonError(ipc::Code::kInternal, error.what());
  } catch (...) {
    return NewTritonError(ipc::Code::kInternal, "unknown exception in the Python backend");
  }
}

}  // namespace tpb::backend
