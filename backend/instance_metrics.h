// What the metrics page says of one instance and its processes; docs/operations.md has each metric.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "backend/metric.h"

namespace tpb::backend {

// One per backend.
struct InstanceMetricFamilies {
  GaugeFamily up{"triton_python_instance_up", "Whether a Python model instance has a process that serves"};
  GaugeFamily held{"triton_python_held_requests",
                   "Requests that a Python model instance holds until its next process is up"};
  CounterFamily restarts{"triton_python_restarts_total",
                         "Processes that have taken the place of a dead one of a Python model instance"};
  CounterFamily deaths{"triton_python_deaths_total",
                       "Processes of a Python model instance that ended in the middle of their work"};
  CounterFamily dropped{"triton_python_dropped_messages_total",
                        "Messages of a Python model's process that named nothing, and were dropped"};
  CounterFamily given_back{"triton_python_shm_given_back_bytes_total",
                           "Shared memory that a Python model instance has given back to the kernel"};
};

struct InstanceLabels {
  std::string model;
  std::string version;
  std::string instance;
};

// Shared by an instance and the channels of its processes, one after the other: counters go on.
class InstanceMetrics {
 public:
  InstanceMetrics(const InstanceMetricFamilies& families, InstanceLabels labels);

  [[nodiscard]] const InstanceLabels& labels() const noexcept { return labels_; }

  // A process serves; the first one is no restart.
  void Up() noexcept;
  void Down() noexcept;

  // One has died of `cause`, of which there are few: "signal 9", "exit 1".
  void Died(const std::string& cause);

  // One thread at a time.
  void Hold(std::size_t requests) noexcept { held_.Show(static_cast<double>(requests)); }

  void Dropped(std::uint64_t messages) noexcept { dropped_.Add(static_cast<double>(messages)); }
  void GaveBack(std::uint64_t bytes) noexcept { given_back_.Add(static_cast<double>(bytes)); }

 private:
  const InstanceMetricFamilies& families_;
  const InstanceLabels labels_;
  std::mutex mutex_;
  Gauge up_;  // under mutex_, like the next two
  bool was_up_ = false;
  std::map<std::string, Counter> deaths_;
  Gauge held_;
  Counter restarts_;
  Counter dropped_;
  Counter given_back_;
};

}  // namespace tpb::backend
