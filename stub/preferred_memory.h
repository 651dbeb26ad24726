// Where a model would like the outputs of another model that it calls.
#pragma once

#include <cstdint>

namespace tpb::stub {

// The numbers that models know, which are not those of the C API; kAny has no name there.
enum class MemoryPreference : std::uint32_t { kGpu = 0, kCpu = 1, kAny = 2 };

class PreferredMemory {
 public:
  PreferredMemory() = default;
  PreferredMemory(MemoryPreference type, std::int64_t device_id) : type_(type), device_id_(device_id) {}

  [[nodiscard]] MemoryPreference type() const noexcept { return type_; }
  [[nodiscard]] std::int64_t device_id() const noexcept { return device_id_; }

 private:
  MemoryPreference type_ = MemoryPreference::kAny;
  std::int64_t device_id_ = 0;
};

}  // namespace tpb::stub
