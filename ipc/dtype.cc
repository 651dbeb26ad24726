#include "ipc/dtype.h"

#include <array>

namespace tpb::ipc {
namespace {

struct Entry {
  std::string_view name;
  std::size_t element_size;
};

constexpr std::array<Entry, 15> kEntries{{
    {"<invalid>", 0},
    {"BOOL", 1},
    {"UINT8", 1},
    {"UINT16", 2},
    {"UINT32", 4},
    {"UINT64", 8},
    {"INT8", 1},
    {"INT16", 2},
    {"INT32", 4},
    {"INT64", 8},
    {"FP16", 2},
    {"FP32", 4},
    {"FP64", 8},
    {"BYTES", 0},
    {"BF16", 2},
}};

const Entry& Find(DataType dtype) noexcept {
  const auto index = static_cast<std::size_t>(dtype);
  return index < kEntries.size() ? kEntries[index] : kEntries[0];
}

std::optional<std::uint64_t> Product(std::uint64_t product, std::span<const std::int64_t> shape) noexcept {
  for (const std::int64_t dim : shape) {
    if (dim < 0 || __builtin_mul_overflow(product, static_cast<std::uint64_t>(dim), &product)) {
      return std::nullopt;
    }
  }
  return product;
}

}  // namespace

std::size_t ElementSize(DataType dtype) noexcept { return Find(dtype).element_size; }

std::optional<std::uint64_t> ElementCount(std::span<const std::int64_t> shape) noexcept {
  return Product(1, shape);
}

std::optional<std::uint64_t> ByteSize(DataType dtype, std::span<const std::int64_t> shape) noexcept {
  return Product(ElementSize(dtype), shape);
}

std::string_view DataTypeName(DataType dtype) noexcept { return Find(dtype).name; }

std::optional<DataType> DataTypeFromWire(std::uint32_t value) noexcept {
  if (value == 0 || value >= kEntries.size()) {
    return std::nullopt;
  }
  return static_cast<DataType>(value);
}

std::optional<MemoryType> MemoryTypeFromWire(std::uint32_t value) noexcept {
  if (value > static_cast<std::uint32_t>(MemoryType::kGpu)) {
    return std::nullopt;
  }
  return static_cast<MemoryType>(value);
}

}  // namespace tpb::ipc
