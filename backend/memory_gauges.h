// What the metrics page says of the memory that one instance shares with its stub; docs/operations.md has
// each number.
#pragma once

#include <cstdint>
#include <string>

#include "backend/gauge.h"

namespace tpb::backend {

// Of an instance's memory at one moment, in bytes.
struct MemoryNumbers {
  std::uint64_t inputs_used = 0;
  std::uint64_t inputs_pool = 0;
  std::uint64_t outputs_used = 0;  // as the stub says, like the next
  std::uint64_t outputs_pool = 0;
  std::uint64_t kept_inputs = 0;
  std::uint64_t resident = 0;
};

// One per backend.
struct MemoryGaugeFamilies {
  GaugeFamily pool{"triton_python_shm_pool_bytes",
                   "Shared memory that a Python model instance counts as taken, in steps"};
  GaugeFamily used{"triton_python_shm_used_bytes",
                   "Shared memory in use by tensors and messages of a Python model instance"};
  GaugeFamily kept{"triton_python_kept_inputs_bytes",
                   "Shared memory of input tensors that a Python model keeps beyond their request"};
  GaugeFamily resident{"triton_python_shm_resident_bytes",
                       "Memory that the shared memory of a Python model instance takes"};
};

struct InstanceLabels {
  std::string model;
  std::string version;
  std::string instance;
};

class MemoryGauges {
 public:
  MemoryGauges(const MemoryGaugeFamilies& families, const InstanceLabels& labels);

  // One thread at a time.
  void Show(const MemoryNumbers& numbers) noexcept;

 private:
  Gauge inputs_pool_;
  Gauge outputs_pool_;
  Gauge inputs_used_;
  Gauge outputs_used_;
  Gauge kept_;
  Gauge resident_;
};

}  // namespace tpb::backend
