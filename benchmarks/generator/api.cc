#include "benchmarks/generator/api.h"

#include <dlfcn.h>

#include "triton_c_api/resolve.h"

namespace tpb::bench {

Api Api::Open(const std::string& library) {
  // RTLD_LOCAL, as programs that embed a server open it.
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();  // NOLINT(concurrency-mt-unsafe): no other thread runs yet
    throw std::runtime_error("cannot open the server library: " +
                             std::string(reason == nullptr ? library.c_str() : reason));
  }
  const Api api{triton::LoadFunctions(handle), triton::LoadServerFunctions(handle)};
  auto missing = triton::MissingNames(static_cast<const triton::Functions&>(api));
  for (const auto name : triton::MissingNames(static_cast<const triton::ServerFunctions&>(api))) {
    missing.push_back(name);
  }
  if (!missing.empty()) {
    throw std::runtime_error(library + " is no libtritonserver of a supported version: it lacks " +
                             std::string(missing.front()) + " and " + std::to_string(missing.size() - 1) +
                             " more functions");
  }
  return api;
}

void Api::Check(TRITONSERVER_Error* error) const {
  if (error == nullptr) {
    return;
  }
  const ServerError thrown(TRITONSERVER_ErrorCodeString(error), TRITONSERVER_ErrorMessage(error));
  TRITONSERVER_ErrorDelete(error);
  throw ServerError(thrown);
}

}  // namespace tpb::bench
