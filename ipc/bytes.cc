#include "ipc/bytes.h"

namespace tpb::ipc {

// The texts are those that clients know.
std::string FaultOfBytes(std::span<const std::byte> encoded, std::uint64_t count, std::string_view tensor) {
  BytesReader reader(encoded);
  std::uint64_t found = 0;
  for (; reader.left() > 0; ++found) {
    if (found == count) {
      return "unexpected number of string elements " + std::to_string(found + 1) + " for " +
             std::string(tensor) + ", expecting " + std::to_string(count);
    }
    const std::size_t before = reader.left();
    const auto length = reader.NextLength();
    if (!length) {
      return "incomplete string length indicator for " + std::string(tensor) + ", expecting " +
             std::to_string(sizeof(BytesLength)) + " bytes but only " + std::to_string(before) +
             " bytes available";
    }
    if (*length > reader.left()) {
      return "incomplete string data for " + std::string(tensor) + ", expecting string of length " +
             std::to_string(*length) + " but only " + std::to_string(reader.left()) + " bytes available";
    }
    reader.Take(*length);
  }
  if (found != count) {
    return "expected " + std::to_string(count) + " strings for " + std::string(tensor) + ", got " +
           std::to_string(found);
  }
  return {};
}

}  // namespace tpb::ipc
