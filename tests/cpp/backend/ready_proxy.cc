// Stands between a real core and the backend library beside it, libtriton_python_real.so, and asks that for
// what a core before 25.12 never asks: TRITONBACKEND_ModelInstanceReady. A request whose id is
// "ready?<instance>" is not executed: its error says what that instance answered, as "<code>: <text>" or
// "yes". The model that it goes to only lends its thread. One whose id is "double!" is not executed either:
// its response has a parameter of type DOUBLE, which no model in Python can give.
#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>

#include "triton_c_api/entry_points.h"
#include "triton_c_api/resolve.h"

namespace {

constexpr std::string_view kQuestion = "ready?";
constexpr std::string_view kDouble = "double!";

void* RealLibrary() {
  Dl_info self{};
  if (::dladdr(reinterpret_cast<const void*>(&RealLibrary), &self) == 0) {
    std::abort();
  }
  std::string path = self.dli_fname;
  path = path.substr(0, path.rfind('/')) + "/libtriton_python_real.so";
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::abort();
  }
  return library;
}

template <typename Function>
Function* Real(Function* /*proxy*/, const char* name) {
  static void* const library = RealLibrary();
  return reinterpret_cast<Function*>(::dlsym(library, name));
}
#define REAL(name) Real(&name, #name)

struct Instances {
  std::shared_mutex mutex;  // shared while one is asked, so that it stays
  std::map<std::string, TRITONBACKEND_ModelInstance*> by_name;
};
Instances& Known() {
  static Instances instances;
  return instances;
}

std::string NameOf(TRITONBACKEND_ModelInstance* instance) {
  const char* name = nullptr;
  tpb::triton::Api().TRITONBACKEND_ModelInstanceName(instance, &name);
  return name;
}

std::string Ask(const std::string& name) {
  const std::shared_lock lock(Known().mutex);
  const auto found = Known().by_name.find(name);
  if (found == Known().by_name.end()) {
    return "there is no instance " + name;
  }
  const auto& api = tpb::triton::Api();
  TRITONSERVER_Error* error = REAL(TRITONBACKEND_ModelInstanceReady)(found->second);
  if (error == nullptr) {
    return "yes";
  }
  std::string text = api.TRITONSERVER_ErrorCodeString(error);
  text += std::string(": ") + api.TRITONSERVER_ErrorMessage(error);
  api.TRITONSERVER_ErrorDelete(error);
  return text;
}

void Answer(TRITONBACKEND_Request* request, const std::string& text) {
  const auto& api = tpb::triton::Api();
  TRITONBACKEND_Response* response = nullptr;
  api.TRITONBACKEND_ResponseNew(&response, request);
  TRITONSERVER_Error* error = api.TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_UNKNOWN, text.c_str());
  api.TRITONBACKEND_ResponseSend(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error);
  api.TRITONSERVER_ErrorDelete(error);
  api.TRITONBACKEND_RequestRelease(request, TRITONSERVER_REQUEST_RELEASE_ALL);
}

void AnswerWithDouble(TRITONBACKEND_Request* request) {
  const auto& api = tpb::triton::Api();
  TRITONBACKEND_Response* response = nullptr;
  api.TRITONBACKEND_ResponseNew(&response, request);
  api.TRITONBACKEND_ResponseSetDoubleParameter(response, "third", 1.0 / 3);
  api.TRITONBACKEND_ResponseSend(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL, nullptr);
  api.TRITONBACKEND_RequestRelease(request, TRITONSERVER_REQUEST_RELEASE_ALL);
}

}  // namespace

extern "C" {

TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend* backend) noexcept {
  return REAL(TRITONBACKEND_Initialize)(backend);
}

TRITONSERVER_Error* TRITONBACKEND_Finalize(TRITONBACKEND_Backend* backend) noexcept {
  return REAL(TRITONBACKEND_Finalize)(backend);
}

TRITONSERVER_Error* TRITONBACKEND_GetBackendAttribute(TRITONBACKEND_Backend* backend,
                                                      TRITONBACKEND_BackendAttribute* attributes) noexcept {
  return REAL(TRITONBACKEND_GetBackendAttribute)(backend, attributes);
}

TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) noexcept {
  return REAL(TRITONBACKEND_ModelInitialize)(model);
}

TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model) noexcept {
  return REAL(TRITONBACKEND_ModelFinalize)(model);
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance* instance) noexcept {
  TRITONSERVER_Error* const error = REAL(TRITONBACKEND_ModelInstanceInitialize)(instance);
  if (error == nullptr) {
    const std::scoped_lock lock(Known().mutex);
    Known().by_name[NameOf(instance)] = instance;
  }
  return error;
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance* instance) noexcept {
  {
    const std::scoped_lock lock(Known().mutex);
    Known().by_name.erase(NameOf(instance));
  }
  return REAL(TRITONBACKEND_ModelInstanceFinalize)(instance);
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* instance,
                                                       TRITONBACKEND_Request** requests,
                                                       const uint32_t request_count) noexcept {
  const char* id = "";
  if (request_count == 1) {
    tpb::triton::Api().TRITONBACKEND_RequestId(requests[0], &id);
  }
  if (std::string_view(id).starts_with(kQuestion)) {
    Answer(requests[0], Ask(id + kQuestion.size()));
    return nullptr;
  }
  if (id == kDouble) {
    AnswerWithDouble(requests[0]);
    return nullptr;
  }
  return REAL(TRITONBACKEND_ModelInstanceExecute)(instance, requests, request_count);
}

}  // extern "C"
