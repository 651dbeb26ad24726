// The metrics that one stub has made, under the numbers that it knows them by.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>

#include "backend/control/metric_registry.h"
#include "ipc/messages.h"

namespace tpb::backend::control {

// One per conversation; used by its service thread alone. What is left when it ends is deleted.
class MetricTable {
 public:
  // Throw ipc::Error with what the model is told. The handles are never used again.
  std::uint64_t NewFamily(const ipc::Ask& ask);
  std::uint64_t NewMetric(const ipc::Ask& ask);
  [[nodiscard]] double Value(std::uint64_t handle) const;

  // False for a handle that names nothing any more, or what its kind of metric cannot do: the stub has looked
  // at both, but another of its threads may have been faster.
  bool Update(std::uint64_t handle, ipc::MetricUpdate what, double value);

  void Clear() noexcept;

 private:
  struct Family {
    MetricRegistry::Family use;
    std::set<std::uint64_t> metrics;
    std::size_t size;  // of what describes it, as the next
  };
  struct Metric {
    MetricRegistry::Metric use;
    std::uint64_t family;
    std::size_t size;
  };

  void CheckRoom(std::size_t size) const;
  bool DeleteMetric(std::uint64_t handle);
  bool DeleteFamily(std::uint64_t handle);

  std::map<std::uint64_t, Family> families_;
  std::map<std::uint64_t, Metric> metrics_;
  std::size_t size_ = 0;  // of all
  std::uint64_t next_ = 1;
};

}  // namespace tpb::backend::control
