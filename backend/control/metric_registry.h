// The metrics of models in core. Core counts the users of a metric within one family object only, so that of
// two families of one name, whoever deletes first takes the other's metric away: here every name is one
// family object, shared by all stubs.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>

#include "ipc/wire.h"
#include "triton_c_api/types.h"

namespace tpb::backend::control {

using Labels = std::map<std::string, std::string>;

// As wide as core's own registry: the process. Any thread; nothing waits under its mutex but core's.
class MetricRegistry {
 public:
  // Lives as long as the process, because stubs of several backends and servers share what it holds.
  static MetricRegistry& OfProcess();

  MetricRegistry() = default;
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;
  MetricRegistry(MetricRegistry&&) = delete;
  MetricRegistry& operator=(MetricRegistry&&) = delete;
  ~MetricRegistry() = default;

  class Family;
  class Metric;

  // Throw ipc::Error with what core says, or for a name that is the server's own. A family that has users is
  // not made again: its first description stays.
  Family UseFamily(ipc::MetricKind kind, const std::string& name, const std::string& help);
  Metric UseMetric(const Family& family, const Labels& labels, std::span<const double> buckets);

 private:
  struct Entry {
    TRITONSERVER_Metric* metric = nullptr;
    std::uint64_t users = 0;
  };
  struct Shared {
    ipc::MetricKind kind = ipc::MetricKind::kCounter;
    TRITONSERVER_MetricFamily* family = nullptr;
    std::uint64_t users = 0;  // each metric is one
    std::map<Labels, Entry> metrics;
  };
  using Families = std::map<std::pair<std::string, ipc::MetricKind>, Shared>;

  void Leave(Families::iterator family) noexcept;  // under mutex_

  std::mutex mutex_;
  Families families_;
};

// One use of a family.
class MetricRegistry::Family {
 public:
  Family(Family&& other) noexcept;
  Family(const Family&) = delete;
  Family& operator=(const Family&) = delete;
  Family& operator=(Family&&) = delete;
  ~Family();

  [[nodiscard]] ipc::MetricKind kind() const noexcept { return at_->first.second; }

 private:
  friend class MetricRegistry;
  Family(MetricRegistry& registry, Families::iterator at) : registry_(&registry), at_(at) {}

  MetricRegistry* registry_;  // null once moved from
  Families::iterator at_;
};

// One use of a metric. The family lives at least as long.
class MetricRegistry::Metric {
 public:
  Metric(Metric&& other) noexcept;
  Metric(const Metric&) = delete;
  Metric& operator=(const Metric&) = delete;
  Metric& operator=(Metric&&) = delete;
  ~Metric();

  [[nodiscard]] TRITONSERVER_Metric* get() const noexcept { return at_->second.metric; }

 private:
  friend class MetricRegistry;
  Metric(MetricRegistry& registry, Families::iterator family, std::map<Labels, Entry>::iterator at)
      : registry_(&registry), family_(family), at_(at) {}

  MetricRegistry* registry_;  // null once moved from
  Families::iterator family_;
  std::map<Labels, Entry>::iterator at_;
};

}  // namespace tpb::backend::control
