#include "backend/instance_metrics.h"

#include <utility>
#include <vector>

namespace tpb::backend {
namespace {

std::vector<Metric::Label> Labels(const InstanceLabels& labels) {
  return {{"model", labels.model}, {"version", labels.version}, {"instance", labels.instance}};
}

}  // namespace

InstanceMetrics::InstanceMetrics(const InstanceMetricFamilies& families, InstanceLabels labels)
    : families_(families),
      labels_(std::move(labels)),
      up_(families.up, Labels(labels_)),
      held_(families.held, Labels(labels_)),
      restarts_(families.restarts, Labels(labels_)),
      dropped_(families.dropped, Labels(labels_)),
      given_back_(families.given_back, Labels(labels_)) {}

void InstanceMetrics::Up() noexcept {
  const std::scoped_lock lock(mutex_);
  up_.Show(1);
  if (std::exchange(was_up_, true)) {
    restarts_.Add(1);
  }
}

void InstanceMetrics::Down() noexcept {
  const std::scoped_lock lock(mutex_);
  up_.Show(0);
}

void InstanceMetrics::Died(const std::string& cause) {
  const std::scoped_lock lock(mutex_);
  auto labels = Labels(labels_);
  labels.emplace_back("cause", cause);
  deaths_.try_emplace(cause, families_.deaths, labels).first->second.Add(1);
}

}  // namespace tpb::backend
