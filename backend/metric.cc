#include "backend/metric.h"

#include <memory>
#include <vector>

#include "backend/triton_error.h"

namespace tpb::backend {
namespace {

// As far as an operator wants to know: one who has switched metrics off does not miss them.
bool Done(TRITONSERVER_Error* error, const char* what) noexcept {
  if (error == nullptr) {
    return true;
  }
  const auto& api = triton::Api();
  Log(TRITONSERVER_LOG_VERBOSE, __FILE__, __LINE__,
      std::string(what) + ": " + api.TRITONSERVER_ErrorMessage(error));
  api.TRITONSERVER_ErrorDelete(error);
  return false;
}

struct DeleteParameter {
  void operator()(TRITONSERVER_Parameter* parameter) const noexcept {
    triton::Api().TRITONSERVER_ParameterDelete(parameter);
  }
};

}  // namespace

MetricFamily::MetricFamily(TRITONSERVER_MetricKind kind, const char* name, const char* help) {
  if (!Done(triton::Api().TRITONSERVER_MetricFamilyNew(&family_, kind, name, help),
            "Unable to create a metric family")) {
    family_ = nullptr;
  }
}

MetricFamily::~MetricFamily() {
  if (family_ != nullptr) {
    Done(triton::Api().TRITONSERVER_MetricFamilyDelete(family_), "Unable to delete a metric family");
  }
}

Metric::Metric(const MetricFamily& family, std::span<const Label> labels) {
  if (family.family_ == nullptr) {
    return;
  }
  const auto& api = triton::Api();
  std::vector<std::unique_ptr<TRITONSERVER_Parameter, DeleteParameter>> owned;
  std::vector<const TRITONSERVER_Parameter*> parameters;
  for (const auto& [name, value] : labels) {
    owned.emplace_back(api.TRITONSERVER_ParameterNew(name, TRITONSERVER_PARAMETER_STRING, value.c_str()));
    parameters.push_back(owned.back().get());
  }
  if (!Done(api.TRITONSERVER_MetricNewWithArgs(&metric_, family.family_, parameters.data(), parameters.size(),
                                               nullptr),
            "Unable to create a metric")) {
    metric_ = nullptr;
  }
}

Metric::~Metric() {
  if (metric_ != nullptr) {
    Done(triton::Api().TRITONSERVER_MetricDelete(metric_), "Unable to delete a metric");
  }
}

void Metric::Increment(double by) noexcept {
  if (metric_ != nullptr) {
    Done(triton::Api().TRITONSERVER_MetricIncrement(metric_, by), "Unable to change a metric");
  }
}

void Gauge::Show(double value) noexcept {
  if (value != shown_) {
    Increment(value - shown_);
    shown_ = value;
  }
}

}  // namespace tpb::backend
