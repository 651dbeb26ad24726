// Numbers on Triton's metrics page. A server without metrics, or one that refuses, costs only the numbers.
#pragma once

#include <span>
#include <string>
#include <utility>

#include "triton_c_api/types.h"

namespace tpb::backend {

// A name with its help text; outlives its metrics.
class MetricFamily {
 public:
  MetricFamily(TRITONSERVER_MetricKind kind, const char* name, const char* help);
  MetricFamily(const MetricFamily&) = delete;
  MetricFamily& operator=(const MetricFamily&) = delete;
  MetricFamily(MetricFamily&&) = delete;
  MetricFamily& operator=(MetricFamily&&) = delete;
  ~MetricFamily();

 private:
  friend class Metric;
  TRITONSERVER_MetricFamily* family_ = nullptr;  // null: there are no metrics
};

struct GaugeFamily : MetricFamily {
  GaugeFamily(const char* name, const char* help)
      : MetricFamily(TRITONSERVER_METRIC_KIND_GAUGE, name, help) {}
};

struct CounterFamily : MetricFamily {
  CounterFamily(const char* name, const char* help)
      : MetricFamily(TRITONSERVER_METRIC_KIND_COUNTER, name, help) {}
};

// One line of a family, gone from the page with the last one of the same labels. Those show the sum of their
// values: while a model is loaded anew, an instance may have the labels of one that is still leaving.
class Metric {
 public:
  using Label = std::pair<const char*, std::string>;

  Metric(const MetricFamily& family, std::span<const Label> labels);
  Metric(const Metric&) = delete;
  Metric& operator=(const Metric&) = delete;
  Metric(Metric&&) = delete;
  Metric& operator=(Metric&&) = delete;
  ~Metric();

 protected:
  void Increment(double by) noexcept;

 private:
  TRITONSERVER_Metric* metric_ = nullptr;
};

class Gauge : public Metric {
 public:
  Gauge(const GaugeFamily& family, std::span<const Label> labels) : Metric(family, labels) {}
  Gauge(const Gauge&) = delete;
  Gauge& operator=(const Gauge&) = delete;
  Gauge(Gauge&&) = delete;
  Gauge& operator=(Gauge&&) = delete;
  ~Gauge() { Show(0); }

  // One thread at a time.
  void Show(double value) noexcept;

 private:
  double shown_ = 0;
};

class Counter : public Metric {
 public:
  Counter(const CounterFamily& family, std::span<const Label> labels) : Metric(family, labels) {}

  // Any thread.
  void Add(double number) noexcept { Increment(number); }
};

}  // namespace tpb::backend
