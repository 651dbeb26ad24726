// The functions of the C API that answers to a hostile stub may need and the other stand-ins lack.
#include "tests/fuzz/stand_in_rest.h"

#include <atomic>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>

struct TRITONBACKEND_ResponseFactory {
  TRITONBACKEND_Request* request;
};
struct TRITONBACKEND_State {
  std::string payload;
};
struct TRITONSERVER_Parameter {
  std::string name;
};
struct TRITONSERVER_MetricArgs {
  double last_bucket = 0;
};
struct TRITONSERVER_MetricFamily {
  TRITONSERVER_MetricKind kind;
  int metrics = 0;
};
struct TRITONSERVER_Metric {
  TRITONSERVER_MetricFamily* family;
  double value = 0;
};

namespace {

std::atomic<int>& Alive() {
  static std::atomic<int> alive{0};
  return alive;
}

std::set<const TRITONBACKEND_Request*>& Cancelled() {
  static std::set<const TRITONBACKEND_Request*> cancelled;
  return cancelled;
}

template <typename Object>
Object* New(Object object) {
  ++Alive();
  return new Object(std::move(object));
}

template <typename Object>
TRITONSERVER_Error* Delete(Object* object) {
  --Alive();
  delete object;
  return nullptr;
}

TRITONSERVER_Error* Refused(const std::string& why) {
  return new TRITONSERVER_Error{TRITONSERVER_ERROR_INVALID_ARG, why};
}

}  // namespace

namespace tpb::fuzz {

void SetCancelled(const TRITONBACKEND_Request* request) { Cancelled().insert(request); }
void ForgetCancelled() { Cancelled().clear(); }
int AliveInCore() { return Alive(); }

}  // namespace tpb::fuzz

#pragma GCC visibility push(default)
extern "C" {

// --- Requests and their responses

TRITONSERVER_Error* TRITONBACKEND_RequestIsCancelled(TRITONBACKEND_Request* request, bool* cancelled) {
  *cancelled = Cancelled().contains(request);
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestCorrelationIdString(TRITONBACKEND_Request* /*request*/,
                                                             const char** id) {
  *id = "";
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestParameter(TRITONBACKEND_Request* /*request*/,
                                                   const uint32_t /*index*/, const char** /*key*/,
                                                   TRITONSERVER_ParameterType* /*type*/,
                                                   const void** /*value*/) {
  return Refused("there are no parameters");
}
TRITONSERVER_Error* TRITONBACKEND_RequestOutputName(TRITONBACKEND_Request* /*request*/,
                                                    const uint32_t /*index*/, const char** /*name*/) {
  return Refused("no outputs were asked for");
}
TRITONSERVER_Error* TRITONBACKEND_ResponseFactoryNew(TRITONBACKEND_ResponseFactory** factory,
                                                     TRITONBACKEND_Request* request) {
  *factory = New(TRITONBACKEND_ResponseFactory{request});
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseFactoryDelete(TRITONBACKEND_ResponseFactory* factory) {
  return Delete(factory);
}
TRITONSERVER_Error* TRITONBACKEND_ResponseFactorySendFlags(TRITONBACKEND_ResponseFactory* factory,
                                                           const uint32_t flags) {
  factory->request->sent.finals += (flags & TRITONSERVER_RESPONSE_COMPLETE_FINAL) != 0 ? 1 : 0;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseFactoryIsCancelled(TRITONBACKEND_ResponseFactory* factory,
                                                             bool* cancelled) {
  return TRITONBACKEND_RequestIsCancelled(factory->request, cancelled);
}
TRITONSERVER_Error* TRITONBACKEND_ResponseNew(TRITONBACKEND_Response** response,
                                              TRITONBACKEND_Request* request);
TRITONSERVER_Error* TRITONBACKEND_ResponseNewFromFactory(TRITONBACKEND_Response** response,
                                                         TRITONBACKEND_ResponseFactory* factory) {
  return TRITONBACKEND_ResponseNew(response, factory->request);
}
TRITONSERVER_Error* TRITONBACKEND_ResponseSetStringParameter(TRITONBACKEND_Response* /*response*/,
                                                             const char* name, const char* value) {
  return *name == '\0' && *value == '\0' ? Refused("a parameter without a name") : nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseSetIntParameter(TRITONBACKEND_Response* /*response*/,
                                                          const char* /*name*/, const int64_t /*value*/) {
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseSetBoolParameter(TRITONBACKEND_Response* /*response*/,
                                                           const char* /*name*/, const bool /*value*/) {
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseSetDoubleParameter(TRITONBACKEND_Response* /*response*/,
                                                             const char* /*name*/, const double /*value*/) {
  return nullptr;
}

// Core owns a state; here the next one takes its place.
TRITONSERVER_Error* TRITONBACKEND_StateNew(TRITONBACKEND_State** state, TRITONBACKEND_Request* /*request*/,
                                           const char* /*name*/, const TRITONSERVER_DataType /*dtype*/,
                                           const int64_t* /*shape*/, const uint32_t /*dims*/) {
  static TRITONBACKEND_State last;
  last = {};
  *state = &last;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_StateBuffer(TRITONBACKEND_State* state, void** buffer, const uint64_t size,
                                              TRITONSERVER_MemoryType* memory_type, int64_t* device) {
  state->payload.resize(size);
  *buffer = state->payload.data();
  *memory_type = TRITONSERVER_MEMORY_CPU;
  *device = 0;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_StateUpdate(TRITONBACKEND_State* /*state*/) { return nullptr; }

// --- Calls, and models that are loaded and unloaded

TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetPriorityUInt64(TRITONSERVER_InferenceRequest* /*request*/,
                                                                   uint64_t /*priority*/) {
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_InferenceTraceSpawnChildTrace(TRITONSERVER_InferenceTrace* /*trace*/,
                                                               TRITONSERVER_InferenceTrace** child) {
  *child = nullptr;
  return nullptr;
}
TRITONSERVER_Parameter* TRITONSERVER_ParameterNew(const char* name, const TRITONSERVER_ParameterType /*type*/,
                                                  const void* value) {
  return New(TRITONSERVER_Parameter{std::string(name) + static_cast<const char*>(value)});
}
TRITONSERVER_Parameter* TRITONSERVER_ParameterBytesNew(const char* name, const void* bytes,
                                                       const uint64_t size) {
  return New(TRITONSERVER_Parameter{name + std::string(static_cast<const char*>(bytes), size)});
}
void TRITONSERVER_ParameterDelete(TRITONSERVER_Parameter* parameter) { Delete(parameter); }
TRITONSERVER_Error* TRITONSERVER_ServerLoadModelWithParameters(TRITONSERVER_Server* /*server*/,
                                                               const char* model,
                                                               const TRITONSERVER_Parameter** /*parameters*/,
                                                               const uint64_t /*count*/) {
  return *model == '\0' ? Refused("a model without a name") : nullptr;
}
TRITONSERVER_Error* TRITONSERVER_ServerUnloadModel(TRITONSERVER_Server* /*server*/, const char* /*model*/) {
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_ServerUnloadModelAndDependents(TRITONSERVER_Server* /*server*/,
                                                                const char* /*model*/) {
  return nullptr;
}

// --- Metrics: what prometheus would throw about is an error, as core makes one of it

TRITONSERVER_Error* TRITONSERVER_MetricFamilyNew(TRITONSERVER_MetricFamily** family,
                                                 const TRITONSERVER_MetricKind kind, const char* name,
                                                 const char* /*description*/) {
  if (*name == '\0') {
    return Refused("a family without a name");
  }
  *family = New(TRITONSERVER_MetricFamily{kind});
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_MetricFamilyDelete(TRITONSERVER_MetricFamily* family) {
  if (family->metrics != 0) {
    __builtin_trap();  // core refuses, and the family would leak
  }
  return Delete(family);
}
TRITONSERVER_Error* TRITONSERVER_MetricArgsNew(TRITONSERVER_MetricArgs** args) {
  *args = New(TRITONSERVER_MetricArgs{});
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_MetricArgsSetHistogram(TRITONSERVER_MetricArgs* args, const double* buckets,
                                                        const uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    args->last_bucket = buckets[i];
  }
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_MetricArgsDelete(TRITONSERVER_MetricArgs* args) { return Delete(args); }
TRITONSERVER_Error* TRITONSERVER_MetricNewWithArgs(TRITONSERVER_Metric** metric,
                                                   TRITONSERVER_MetricFamily* family,
                                                   const TRITONSERVER_Parameter** labels,
                                                   const uint64_t label_count,
                                                   const TRITONSERVER_MetricArgs* args) {
  if (label_count != 0 && labels[0]->name.empty()) {
    return Refused("a label without a name");
  }
  if (args != nullptr && std::isnan(args->last_bucket)) {
    return Refused("buckets that cannot be ordered");
  }
  ++family->metrics;
  *metric = New(TRITONSERVER_Metric{family});
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_MetricDelete(TRITONSERVER_Metric* metric) {
  --metric->family->metrics;
  return Delete(metric);
}
TRITONSERVER_Error* TRITONSERVER_MetricValue(TRITONSERVER_Metric* metric, double* value) {
  *value = metric->value;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_MetricIncrement(TRITONSERVER_Metric* metric, double value) {
  if (!(value >= 0)) {
    return Refused("a counter that falls");
  }
  metric->value += value;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_MetricSet(TRITONSERVER_Metric* metric, double value) {
  metric->value = value;
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_MetricObserve(TRITONSERVER_Metric* metric, double value) {
  metric->value += value;
  return nullptr;
}

}  // extern "C"
#pragma GCC visibility pop
