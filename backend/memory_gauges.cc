#include "backend/memory_gauges.h"

#include <vector>

namespace tpb::backend {
namespace {

std::vector<Gauge::Label> Labels(const InstanceLabels& labels, const char* arena = nullptr) {
  std::vector<Gauge::Label> all{
      {"model", labels.model}, {"version", labels.version}, {"instance", labels.instance}};
  if (arena != nullptr) {
    all.emplace_back("arena", arena);
  }
  return all;
}

}  // namespace

MemoryGauges::MemoryGauges(const MemoryGaugeFamilies& families, const InstanceLabels& labels)
    : inputs_pool_(families.pool, Labels(labels, "inputs")),
      outputs_pool_(families.pool, Labels(labels, "outputs")),
      inputs_used_(families.used, Labels(labels, "inputs")),
      outputs_used_(families.used, Labels(labels, "outputs")),
      kept_(families.kept, Labels(labels)),
      resident_(families.resident, Labels(labels)) {}

void MemoryGauges::Show(const MemoryNumbers& numbers) noexcept {
  inputs_pool_.Show(static_cast<double>(numbers.inputs_pool));
  outputs_pool_.Show(static_cast<double>(numbers.outputs_pool));
  inputs_used_.Show(static_cast<double>(numbers.inputs_used));
  outputs_used_.Show(static_cast<double>(numbers.outputs_used));
  kept_.Show(static_cast<double>(numbers.kept_inputs));
  resident_.Show(static_cast<double>(numbers.resident));
}

}  // namespace tpb::backend
