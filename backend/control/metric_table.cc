#include "backend/control/metric_table.h"

#include <string>
#include <utility>

#include "backend/triton_error.h"
#include "ipc/error.h"

namespace tpb::backend::control {
namespace {

// Far above any use: a page of metrics with so many lines is of no use to anybody.
constexpr std::size_t kMost = 65536;
constexpr std::size_t kMostBytes = std::size_t{16} << 20;
constexpr std::size_t kBytesOfBucket = 64;

std::size_t SizeOf(const ipc::Ask& ask) {
  std::size_t size = ask.name.size() + ask.text.size() + ask.numbers.size() * kBytesOfBucket;
  for (const auto& [name, value] : ask.pairs) {
    size += name.size() + value.size() + kBytesOfBucket;
  }
  return size;
}

bool Done(TRITONSERVER_Error* error) noexcept {
  if (error == nullptr) {
    return true;
  }
  triton::Api().TRITONSERVER_ErrorDelete(error);
  return false;
}

}  // namespace

void MetricTable::CheckRoom(std::size_t size) const {
  if (size > kMostBytes - size_) {
    throw ipc::Error(ipc::Code::kUnavailable,
                     "the names, labels and buckets of this instance's metrics would take " +
                         std::to_string(size_ + size) + " bytes, and may take " + std::to_string(kMostBytes));
  }
  if (families_.size() + metrics_.size() >= kMost) {
    throw ipc::Error(ipc::Code::kUnavailable, "this instance already has " + std::to_string(kMost) +
                                                  " metrics and metric families, which is as many as may be");
  }
}

std::uint64_t MetricTable::NewFamily(const ipc::Ask& ask) {
  const std::size_t size = SizeOf(ask);
  CheckRoom(size);
  if (ask.option > static_cast<std::uint32_t>(ipc::MetricKind::kHistogram)) {
    throw ipc::ProtocolError("a metric family of kind " + std::to_string(ask.option));
  }
  families_.emplace(next_, Family{.use = MetricRegistry::OfProcess().UseFamily(
                                      static_cast<ipc::MetricKind>(ask.option), std::string(ask.name),
                                      std::string(ask.text)),
                                  .metrics = {},
                                  .size = size});
  size_ += size;
  return next_++;
}

std::uint64_t MetricTable::NewMetric(const ipc::Ask& ask) {
  const std::size_t size = SizeOf(ask);
  CheckRoom(size);
  const auto family = families_.find(ask.handle);
  if (family == families_.end()) {
    throw ipc::Error(ipc::Code::kNotFound, "the metric family has been deleted");
  }
  Labels labels;
  for (const auto& [name, value] : ask.pairs) {
    labels.insert_or_assign(std::string(name), std::string(value));
  }
  metrics_.emplace(
      next_, Metric{.use = MetricRegistry::OfProcess().UseMetric(family->second.use, labels, ask.numbers),
                    .family = ask.handle,
                    .size = size});
  size_ += size;
  family->second.metrics.insert(next_);
  return next_++;
}

double MetricTable::Value(std::uint64_t handle) const {
  const auto metric = metrics_.find(handle);
  if (metric == metrics_.end()) {
    throw ipc::Error(ipc::Code::kNotFound, "the metric has been deleted");
  }
  double value = 0;
  Check(triton::Api().TRITONSERVER_MetricValue(metric->second.use.get(), &value));
  return value;
}

bool MetricTable::Update(std::uint64_t handle, ipc::MetricUpdate what, double value) {
  const auto& api = triton::Api();
  if (what == ipc::MetricUpdate::kDeleteFamily) {
    return DeleteFamily(handle);
  }
  const auto metric = metrics_.find(handle);
  if (metric == metrics_.end()) {
    return false;
  }
  TRITONSERVER_Metric* const core = metric->second.use.get();
  switch (what) {
    case ipc::MetricUpdate::kIncrement:
      return Done(api.TRITONSERVER_MetricIncrement(core, value));
    case ipc::MetricUpdate::kSet:
      return Done(api.TRITONSERVER_MetricSet(core, value));
    case ipc::MetricUpdate::kObserve:
      return Done(api.TRITONSERVER_MetricObserve(core, value));
    case ipc::MetricUpdate::kDeleteMetric:
      return DeleteMetric(handle);
    default:
      throw ipc::ProtocolError("the stub process wants to do " +
                               std::to_string(static_cast<std::uint64_t>(what)) + " to a metric");
  }
}

bool MetricTable::DeleteMetric(std::uint64_t handle) {
  const auto metric = metrics_.extract(handle);
  if (metric.empty()) {
    return false;
  }
  families_.at(metric.mapped().family).metrics.erase(handle);
  size_ -= metric.mapped().size;
  return true;
}

// Its metrics first, as core wants it.
bool MetricTable::DeleteFamily(std::uint64_t handle) {
  const auto family = families_.extract(handle);
  if (family.empty()) {
    return false;
  }
  for (const std::uint64_t metric : family.mapped().metrics) {
    size_ -= metrics_.at(metric).size;
    metrics_.erase(metric);
  }
  size_ -= family.mapped().size;
  return true;
}

void MetricTable::Clear() noexcept {
  metrics_.clear();
  families_.clear();
  size_ = 0;
}

}  // namespace tpb::backend::control
