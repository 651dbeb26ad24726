// The entry points that Triton's core calls: a table of contents. Each finds its object and calls it.
#include <memory>
#include <span>

#include "backend/backend.h"
#include "backend/instance.h"
#include "backend/model.h"
#include "backend/triton_error.h"
#include "triton_c_api/entry_points.h"
#include "triton_c_api/resolve.h"

namespace {

using tpb::backend::Backend;
using tpb::backend::Check;
using tpb::backend::Guard;
using tpb::backend::Instance;
using tpb::backend::Model;
using tpb::triton::Resolve;

// The API that this library was written for; core 2.51 and all later ones say the same numbers.
constexpr std::uint32_t kApiMajor = 1;
constexpr std::uint32_t kApiMinor = 19;

void CheckApiVersion() {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  Check(tpb::triton::Api().TRITONBACKEND_ApiVersion(&major, &minor));
  if (major != kApiMajor || minor < kApiMinor) {
    throw tpb::ipc::Error(tpb::ipc::Code::kUnsupported,
                          "Triton backend API version does not support this backend");
  }
}

Backend& BackendOf(TRITONBACKEND_Model* model) {
  const auto& api = tpb::triton::Api();
  TRITONBACKEND_Backend* backend = nullptr;
  Check(api.TRITONBACKEND_ModelBackend(model, &backend));
  void* state = nullptr;
  Check(api.TRITONBACKEND_BackendState(backend, &state));
  return *static_cast<Backend*>(state);
}

Model& ModelOf(TRITONBACKEND_ModelInstance* instance) {
  const auto& api = tpb::triton::Api();
  TRITONBACKEND_Model* model = nullptr;
  Check(api.TRITONBACKEND_ModelInstanceModel(instance, &model));
  void* state = nullptr;
  Check(api.TRITONBACKEND_ModelState(model, &state));
  return *static_cast<Model*>(state);
}

Instance* InstanceOf(TRITONBACKEND_ModelInstance* instance) {
  void* state = nullptr;
  Check(tpb::triton::Api().TRITONBACKEND_ModelInstanceState(instance, &state));
  return static_cast<Instance*>(state);
}

}  // namespace

extern "C" {

TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend* backend) noexcept {
  const auto& api = Resolve(__builtin_return_address(0));
  if (TRITONSERVER_Error* error = tpb::triton::CheckCaller(__builtin_return_address(0)); error != nullptr) {
    return error;
  }
  return Guard([&] {
    CheckApiVersion();
    auto state = std::make_unique<Backend>(backend);
    Check(api.TRITONBACKEND_BackendSetState(backend, state.get()));
    static_cast<void>(state.release());  // core's until Finalize
  });
}

TRITONSERVER_Error* TRITONBACKEND_Finalize(TRITONBACKEND_Backend* backend) noexcept {
  return Guard([&] {
    void* state = nullptr;
    Check(tpb::triton::Api().TRITONBACKEND_BackendState(backend, &state));
    const std::unique_ptr<Backend> owned(static_cast<Backend*>(state));
  });
}

TRITONSERVER_Error* TRITONBACKEND_GetBackendAttribute(TRITONBACKEND_Backend* /*backend*/,
                                                      TRITONBACKEND_BackendAttribute* attributes) noexcept {
  const auto& api = Resolve(__builtin_return_address(0));
  return Guard([&] {
    // An instance group that names no kind gets CPU instances, one unless it says how many.
    Check(api.TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(
        attributes, TRITONSERVER_INSTANCEGROUPKIND_CPU, 0, nullptr, 0));
    Check(api.TRITONBACKEND_BackendAttributeSetParallelModelInstanceLoading(attributes, true));
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) noexcept {
  return Guard([&] {
    auto state = std::make_unique<Model>(BackendOf(model), model);
    Check(tpb::triton::Api().TRITONBACKEND_ModelSetState(model, state.get()));
    static_cast<void>(state.release());  // core's until ModelFinalize
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model) noexcept {
  return Guard([&] {
    void* state = nullptr;
    Check(tpb::triton::Api().TRITONBACKEND_ModelState(model, &state));
    const std::unique_ptr<Model> owned(static_cast<Model*>(state));
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance* instance) noexcept {
  return Guard([&] {
    auto state = std::make_unique<Instance>(ModelOf(instance), instance);
    Check(tpb::triton::Api().TRITONBACKEND_ModelInstanceSetState(instance, state.get()));
    static_cast<void>(state.release());  // core's until ModelInstanceFinalize
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance* instance) noexcept {
  return Guard([&] {
    // Core calls this also for an instance whose initialization failed: then there is no state.
    const std::unique_ptr<Instance> owned(InstanceOf(instance));
    if (owned) {
      owned->Finalize();
    }
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* instance,
                                                       TRITONBACKEND_Request** requests,
                                                       const uint32_t request_count) noexcept {
  Instance* state = nullptr;
  // An error from here on leaves the requests with core ...
  if (TRITONSERVER_Error* error = Guard([&] { state = InstanceOf(instance); }); error != nullptr) {
    return error;
  }
  // ... and after this line they are ours: whatever fails becomes a response.
  state->Execute(std::span(requests, request_count));
  return nullptr;
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReady(TRITONBACKEND_ModelInstance* instance) noexcept {
  return Guard([&] {
    const Instance* const state = InstanceOf(instance);
    if (state == nullptr) {
      throw tpb::ipc::Error(tpb::ipc::Code::kUnavailable, "the model instance is still being initialized");
    }
    state->CheckReady();
  });
}

}  // extern "C"
