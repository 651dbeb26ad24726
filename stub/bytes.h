// BYTES tensors between arrays of Python objects and the encoding that travels.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>

namespace tpb::stub {

// A buffer that grows, for one encoded tensor.
class EncodedBytes {
 public:
  explicit EncodedBytes(std::size_t expected_size);

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_.get(), size_}; }

  // Throws Error for an element whose length has no 32-bit number.
  void Append(const void* element, std::size_t size);

 private:
  struct Free {
    void operator()(std::byte* data) const noexcept { std::free(data); }
  };

  void Reserve(std::size_t capacity);

  std::unique_ptr<std::byte, Free> data_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

// Encodes a C-contiguous array of `object` or `S<n>`. An element that is bytes (of any subclass) or a
// bytearray goes out as it is, any other as its str() in UTF-8; elements of `S<n>` end before their trailing
// zeros. The elements are those that the array holds at the call, whatever a str() of theirs does. Throws
// what a str() raises, and Error.
std::shared_ptr<const EncodedBytes> EncodeBytes(const pybind11::array& array);

// An array of `bytes` objects. Throws Error when `encoded` is not exactly as many as `shape` says.
pybind11::array DecodeBytes(std::span<const std::byte> encoded, std::span<const std::int64_t> shape);

// The same, of one dimension: as many as there are.
pybind11::array DecodeBytes(std::span<const std::byte> encoded);

}  // namespace tpb::stub
