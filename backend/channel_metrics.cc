#include "backend/channel_metrics.h"

#include <vector>

namespace tpb::backend {
namespace {

std::vector<Metric::Label> Labels(const InstanceLabels& labels, const char* arena = nullptr) {
  std::vector<Metric::Label> all{
      {"model", labels.model}, {"version", labels.version}, {"instance", labels.instance}};
  if (arena != nullptr) {
    all.emplace_back("arena", arena);
  }
  return all;
}

// The two are not looked at in the same moment, and a stub may say what it likes.
double Free(std::uint64_t pool, std::uint64_t used) {
  return pool < used ? 0 : static_cast<double>(pool - used);
}

}  // namespace

ChannelMetrics::ChannelMetrics(const ChannelMetricFamilies& families, const InstanceLabels& labels)
    : inputs_pool_(families.pool, Labels(labels, "inputs")),
      outputs_pool_(families.pool, Labels(labels, "outputs")),
      inputs_used_(families.used, Labels(labels, "inputs")),
      outputs_used_(families.used, Labels(labels, "outputs")),
      inputs_free_(families.free, Labels(labels, "inputs")),
      outputs_free_(families.free, Labels(labels, "outputs")),
      kept_(families.kept, Labels(labels)),
      resident_(families.resident, Labels(labels)),
      requests_(families.requests, Labels(labels)) {}

void ChannelMetrics::Show(const ChannelNumbers& numbers) noexcept {
  inputs_pool_.Show(static_cast<double>(numbers.inputs_pool));
  outputs_pool_.Show(static_cast<double>(numbers.outputs_pool));
  inputs_used_.Show(static_cast<double>(numbers.inputs_used));
  outputs_used_.Show(static_cast<double>(numbers.outputs_used));
  inputs_free_.Show(Free(numbers.inputs_pool, numbers.inputs_used));
  outputs_free_.Show(Free(numbers.outputs_pool, numbers.outputs_used));
  kept_.Show(static_cast<double>(numbers.kept_inputs));
  resident_.Show(static_cast<double>(numbers.resident));
  requests_.Show(static_cast<double>(numbers.requests));
}

}  // namespace tpb::backend
