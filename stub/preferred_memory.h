// Where a model would like the outputs of another model that it calls.
#pragma once

#include <cstdint>

namespace tpb::stub {

// The numbers that models know, which are not those of the C API.
enum class MemoryPreference : std::uint32_t { kGpu = 0, kCpu = 1 };

class PreferredMemory {
 public:
  PreferredMemory(MemoryPreference type, std::int64_t device_id) : type_(type), device_id_(device_id) {}

  [[nodiscard]] MemoryPreference type() const noexcept { return type_; }
  [[nodiscard]] std::int64_t device_id() const noexcept { return device_id_; }

 private:
  MemoryPreference type_;
  std::int64_t device_id_;
};

}  // namespace tpb::stub
