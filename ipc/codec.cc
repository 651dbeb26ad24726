#include "ipc/codec.h"

#include <string>

namespace tpb::ipc {
namespace {

constexpr std::uint64_t Padded(std::uint64_t size) { return (size + 7) / 8 * 8; }

}  // namespace

void Writer::PutString(std::string_view text) {
  Put(static_cast<std::uint64_t>(text.size()));
  Append(text.data(), text.size());
  buffer_.resize(Padded(buffer_.size()));
}

void Writer::PutNumbers(std::span<const std::int64_t> numbers) {
  Put(static_cast<std::uint64_t>(numbers.size()));
  Append(numbers.data(), numbers.size_bytes());
}

void Writer::Append(const void* data, std::size_t size) {
  const auto* bytes = static_cast<const std::byte*>(data);
  buffer_.insert(buffer_.end(), bytes, bytes + size);
}

std::string_view Reader::GetString() {
  const auto size = Get<std::uint64_t>();
  if (size > left_.size()) {
    throw ProtocolError("a string of " + std::to_string(size) + " bytes in a message with " +
                        std::to_string(left_.size()) + " left");
  }
  const auto bytes = Take(Padded(size));
  return {reinterpret_cast<const char*>(bytes.data()), size};
}

std::span<const std::int64_t> Reader::GetNumbers(std::uint64_t max_count) {
  const auto count = Get<std::uint64_t>();
  if (count > max_count) {
    throw ProtocolError("an array of " + std::to_string(count) + " numbers, at most " +
                        std::to_string(max_count) + " are allowed");
  }
  const auto bytes = Take(count * sizeof(std::int64_t));
  return {reinterpret_cast<const std::int64_t*>(bytes.data()), count};
}

void Reader::ExpectEnd() const {
  if (!left_.empty()) {
    throw ProtocolError("a message with " + std::to_string(left_.size()) + " bytes too many");
  }
}

std::span<const std::byte> Reader::Take(std::uint64_t size) {
  if (size > left_.size()) {
    throw ProtocolError("a message ends early: " + std::to_string(size) + " bytes expected, " +
                        std::to_string(left_.size()) + " left");
  }
  const auto taken = left_.first(size);
  left_ = left_.subspan(size);
  return taken;
}

}  // namespace tpb::ipc
