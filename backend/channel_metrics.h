// What the metrics page says of what one instance shares with its process; docs/operations.md has each
// number.
#pragma once

#include <cstdint>

#include "backend/instance_metrics.h"
#include "backend/metric.h"

namespace tpb::backend {

// Of a channel at one moment; sizes in bytes.
struct ChannelNumbers {
  std::uint64_t inputs_used = 0;
  std::uint64_t inputs_pool = 0;
  std::uint64_t outputs_used = 0;  // as the stub says, like the next
  std::uint64_t outputs_pool = 0;
  std::uint64_t kept_inputs = 0;
  std::uint64_t resident = 0;
  std::uint64_t requests = 0;  // with the process, which has not answered them
};

// One per backend.
struct ChannelMetricFamilies {
  GaugeFamily pool{"triton_python_shm_pool_bytes",
                   "Shared memory that a Python model instance counts as taken, in steps"};
  GaugeFamily used{"triton_python_shm_used_bytes",
                   "Shared memory in use by tensors and messages of a Python model instance"};
  GaugeFamily free{"triton_python_shm_free_bytes",
                   "Shared memory that a Python model instance has taken, and does not use"};
  GaugeFamily kept{"triton_python_kept_inputs_bytes",
                   "Shared memory of input tensors that a Python model keeps beyond their request"};
  GaugeFamily resident{"triton_python_shm_resident_bytes",
                       "Memory that the shared memory of a Python model instance takes"};
  GaugeFamily requests{"triton_python_queue_depth",
                       "Requests that the process of a Python model instance has, and has not answered"};
};

class ChannelMetrics {
 public:
  ChannelMetrics(const ChannelMetricFamilies& families, const InstanceLabels& labels);

  // One thread at a time.
  void Show(const ChannelNumbers& numbers) noexcept;

 private:
  Gauge inputs_pool_;
  Gauge outputs_pool_;
  Gauge inputs_used_;
  Gauge outputs_used_;
  Gauge inputs_free_;
  Gauge outputs_free_;
  Gauge kept_;
  Gauge resident_;
  Gauge requests_;
};

}  // namespace tpb::backend
