// Triton's data types: their numbers on the wire, their names, their sizes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace tpb::ipc {

// The numbers are those of TRITONSERVER_DataType.
enum class DataType : std::uint32_t {
  kInvalid = 0,
  kBool = 1,
  kUint8 = 2,
  kUint16 = 3,
  kUint32 = 4,
  kUint64 = 5,
  kInt8 = 6,
  kInt16 = 7,
  kInt32 = 8,
  kInt64 = 9,
  kFp16 = 10,
  kFp32 = 11,
  kFp64 = 12,
  kBytes = 13,
  kBf16 = 14,
};

// Bytes of one element; 0 for BYTES, whose elements differ in length, and for kInvalid.
std::size_t ElementSize(DataType dtype) noexcept;

// Elements of a tensor of this shape. Nothing when a dimension is negative or they are more than 64 bits
// count.
std::optional<std::uint64_t> ElementCount(std::span<const std::int64_t> shape) noexcept;

// Bytes of such a tensor of a fixed-size type, 0 for the others. Nothing as above.
std::optional<std::uint64_t> ByteSize(DataType dtype, std::span<const std::int64_t> shape) noexcept;

// "FP32", "BYTES", ...; "<invalid>" for anything else.
std::string_view DataTypeName(DataType dtype) noexcept;

// Nothing when the number names no data type that a tensor can have.
std::optional<DataType> DataTypeFromWire(std::uint32_t value) noexcept;

// The numbers are those of TRITONSERVER_MemoryType.
enum class MemoryType : std::uint32_t { kCpu = 0, kCpuPinned = 1, kGpu = 2 };

std::optional<MemoryType> MemoryTypeFromWire(std::uint32_t value) noexcept;

}  // namespace tpb::ipc
