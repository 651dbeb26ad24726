// What this library shows on Triton's metrics page.
#pragma once

#include <string>

#include "backend/channel_metrics.h"
#include "backend/instance_metrics.h"
#include "backend/metric.h"

namespace tpb::backend {

// One per backend.
class Metrics {
 public:
  // `backend` is the name that core knows it by.
  explicit Metrics(const std::string& backend);

  ChannelMetricFamilies channel;
  InstanceMetricFamilies instance;

 private:
  GaugeFamily build_{"triton_python_build_info", "1; the labels say which build of the backend this is"};
  Gauge build_info_;
};

}  // namespace tpb::backend
