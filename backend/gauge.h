// Numbers on Triton's metrics page. A server without metrics, or one that refuses, costs only the numbers.
#pragma once

#include <span>
#include <string>
#include <utility>

#include "triton_c_api/types.h"

namespace tpb::backend {

// A name with its help text; outlives its gauges.
class GaugeFamily {
 public:
  GaugeFamily(const char* name, const char* help);
  GaugeFamily(const GaugeFamily&) = delete;
  GaugeFamily& operator=(const GaugeFamily&) = delete;
  GaugeFamily(GaugeFamily&&) = delete;
  GaugeFamily& operator=(GaugeFamily&&) = delete;
  ~GaugeFamily();

 private:
  friend class Gauge;
  TRITONSERVER_MetricFamily* family_ = nullptr;  // null: there are no metrics
};

// One line of a family, gone from the page with the last gauge of the same labels. Those show the sum of
// their values: while a model is loaded anew, an instance may have the labels of one that is still leaving.
class Gauge {
 public:
  using Label = std::pair<const char*, std::string>;

  Gauge(const GaugeFamily& family, std::span<const Label> labels);
  Gauge(const Gauge&) = delete;
  Gauge& operator=(const Gauge&) = delete;
  Gauge(Gauge&&) = delete;
  Gauge& operator=(Gauge&&) = delete;
  ~Gauge();

  // One thread at a time.
  void Show(double value) noexcept;

 private:
  TRITONSERVER_Metric* metric_ = nullptr;
  double shown_ = 0;
};

}  // namespace tpb::backend
