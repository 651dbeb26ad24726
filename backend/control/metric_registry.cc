#include "backend/control/metric_registry.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "backend/triton_error.h"

namespace tpb::backend::control {
namespace {

// What the server itself counts in. A model that deleted a metric of these would take it away from the
// server.
constexpr std::array<std::string_view, 9> kOwnPrefixes{
    "nv_inference_", "nv_cache_",  "nv_cpu_",           "nv_energy_consumption", "nv_gpu_",
    "nv_model_",     "nv_pinned_", "nv_response_cache", "triton_python_"};

void CheckName(const std::string& name) {
  for (const std::string_view prefix : kOwnPrefixes) {
    if (name.starts_with(prefix)) {
      throw ipc::Error(ipc::Code::kInvalidArg, "names of metrics that begin with '" + std::string(prefix) +
                                                   "' are the server's own; '" + name +
                                                   "' has to be called something else");
    }
  }
}

// Core takes C strings: what it would not see to the end is refused.
void CheckText(const std::string& text, const char* what) {
  if (text.find('\0') != std::string::npos) {
    throw ipc::Error(ipc::Code::kInvalidArg, std::string(what) + " of a metric contains a NUL character");
  }
}

struct DeleteParameter {
  void operator()(TRITONSERVER_Parameter* parameter) const noexcept {
    triton::Api().TRITONSERVER_ParameterDelete(parameter);
  }
};
using OwnedParameter = std::unique_ptr<TRITONSERVER_Parameter, DeleteParameter>;

struct DeleteArgs {
  void operator()(TRITONSERVER_MetricArgs* args) const noexcept {
    LogFailure(triton::Api().TRITONSERVER_MetricArgsDelete(args), "Unable to delete the buckets of a metric");
  }
};
using OwnedArgs = std::unique_ptr<TRITONSERVER_MetricArgs, DeleteArgs>;

OwnedArgs NewArgs(std::span<const double> buckets) {
  const auto& api = triton::Api();
  TRITONSERVER_MetricArgs* args = nullptr;
  Check(api.TRITONSERVER_MetricArgsNew(&args));
  OwnedArgs owned(args);
  Check(api.TRITONSERVER_MetricArgsSetHistogram(args, buckets.data(), buckets.size()));
  return owned;
}

TRITONSERVER_Metric* NewMetric(TRITONSERVER_MetricFamily* family, const Labels& labels,
                               const TRITONSERVER_MetricArgs* args) {
  const auto& api = triton::Api();
  std::vector<OwnedParameter> owned;
  std::vector<const TRITONSERVER_Parameter*> parameters;
  for (const auto& [name, value] : labels) {
    CheckText(name, "the name of a label");
    CheckText(value, "a label");
    owned.emplace_back(
        api.TRITONSERVER_ParameterNew(name.c_str(), TRITONSERVER_PARAMETER_STRING, value.c_str()));
    parameters.push_back(owned.back().get());
  }
  TRITONSERVER_Metric* metric = nullptr;
  Check(api.TRITONSERVER_MetricNewWithArgs(&metric, family, parameters.data(), parameters.size(), args));
  return metric;
}

}  // namespace

MetricRegistry& MetricRegistry::OfProcess() {
  // Never destroyed: stubs may leave while the process exits.
  static MetricRegistry& registry = *std::make_unique<MetricRegistry>().release();
  return registry;
}

MetricRegistry::Family MetricRegistry::UseFamily(ipc::MetricKind kind, const std::string& name,
                                                 const std::string& help) {
  CheckName(name);
  CheckText(name, "the name");
  CheckText(help, "the description");
  const std::scoped_lock lock(mutex_);
  const auto [at, added] = families_.try_emplace({name, kind});
  if (added) {
    try {
      Check(triton::Api().TRITONSERVER_MetricFamilyNew(
          &at->second.family, static_cast<TRITONSERVER_MetricKind>(kind), name.c_str(), help.c_str()));
    } catch (...) {
      families_.erase(at);
      throw;
    }
  }
  ++at->second.users;
  return {*this, at};
}

MetricRegistry::Metric MetricRegistry::UseMetric(const Family& family, const Labels& labels,
                                                 std::span<const double> buckets) {
  const OwnedArgs args = family.kind() == ipc::MetricKind::kHistogram ? NewArgs(buckets) : OwnedArgs(nullptr);
  const std::scoped_lock lock(mutex_);
  Shared& shared = family.at_->second;
  const auto [at, added] = shared.metrics.try_emplace(labels);
  if (added) {
    try {
      at->second.metric = NewMetric(shared.family, labels, args.get());
    } catch (...) {
      shared.metrics.erase(at);
      throw;
    }
  }
  ++at->second.users;
  ++shared.users;
  return {*this, family.at_, at};
}

void MetricRegistry::Leave(Families::iterator family) noexcept {
  if (--family->second.users == 0) {
    LogFailure(triton::Api().TRITONSERVER_MetricFamilyDelete(family->second.family),
               "Unable to delete a metric family");
    families_.erase(family);
  }
}

MetricRegistry::Family::Family(Family&& other) noexcept
    : registry_(std::exchange(other.registry_, nullptr)), at_(other.at_) {}

MetricRegistry::Family::~Family() {
  if (registry_ != nullptr) {
    const std::scoped_lock lock(registry_->mutex_);
    registry_->Leave(at_);
  }
}

MetricRegistry::Metric::Metric(Metric&& other) noexcept
    : registry_(std::exchange(other.registry_, nullptr)), family_(other.family_), at_(other.at_) {}

MetricRegistry::Metric::~Metric() {
  if (registry_ == nullptr) {
    return;
  }
  const std::scoped_lock lock(registry_->mutex_);
  if (--at_->second.users == 0) {
    LogFailure(triton::Api().TRITONSERVER_MetricDelete(at_->second.metric), "Unable to delete a metric");
    family_->second.metrics.erase(at_);
  }
  registry_->Leave(family_);
}

}  // namespace tpb::backend::control
