// The encoding of a BYTES tensor: each element is its length, a uint32, and then so many bytes. Used by the
// stub to make arrays, and by the server to check what goes to a stub and what comes from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace tpb::ipc {

using BytesLength = std::uint32_t;

// Takes an encoded tensor apart. Each length is read once and it is that value that is compared with what is
// left, so memory that somebody changes meanwhile yields other elements but never bytes outside `encoded`.
class BytesReader {
 public:
  explicit BytesReader(std::span<const std::byte> encoded) noexcept : rest_(encoded) {}

  [[nodiscard]] std::size_t left() const noexcept { return rest_.size(); }

  // The length of the next element, which may be more than is left; nothing when it is itself cut off.
  std::optional<BytesLength> NextLength() noexcept {
    BytesLength length = 0;
    if (rest_.size() < sizeof length) {
      return std::nullopt;
    }
    std::memcpy(&length, rest_.data(), sizeof length);
    asm volatile("" : "+r"(length));  // the compiler may not read it again
    rest_ = rest_.subspan(sizeof length);
    return length;
  }

  // The bytes of that element; `length` is at most left().
  std::span<const std::byte> Take(BytesLength length) noexcept {
    const auto element = rest_.first(length);
    rest_ = rest_.subspan(length);
    return element;
  }

 private:
  std::span<const std::byte> rest_;
};

// What is wrong with `encoded`, which is to be `count` elements and nothing else; empty when nothing is.
// `tensor` names it, such as "inference input 'IN'".
std::string FaultOfBytes(std::span<const std::byte> encoded, std::uint64_t count, std::string_view tensor);

}  // namespace tpb::ipc
