// Stands in for libtritonserver: a few functions of the C API, and a way to be the caller of a backend.
#include <atomic>
#include <string>

#include "triton_c_api/types.h"

struct TRITONSERVER_Error {
  TRITONSERVER_Error_Code code;
  std::string message;
};

namespace {
std::atomic<int> live_errors{0};
std::atomic<int> calls{0};
}  // namespace

#pragma GCC visibility push(default)
extern "C" {

TRITONSERVER_Error* TRITONSERVER_ApiVersion(uint32_t* major, uint32_t* minor) {
  *major = 1;
  *minor = 34;
  return nullptr;
}

TRITONSERVER_Error* TRITONSERVER_ErrorNew(TRITONSERVER_Error_Code code, const char* message) {
  ++live_errors;
  return new TRITONSERVER_Error{code, message};
}

void TRITONSERVER_ErrorDelete(TRITONSERVER_Error* error) {
  --live_errors;
  delete error;
}

const char* TRITONSERVER_ErrorMessage(TRITONSERVER_Error* error) { return error->message.c_str(); }

int StandInLiveErrors() { return live_errors; }

// The count after the call keeps the compiler from a tail call, whose return address would be our caller's.
void StandInCall(void (*entry)(void*), void* argument) {
  entry(argument);
  ++calls;
}

}  // extern "C"
#pragma GCC visibility pop
