#include "tests/fuzz/inputs.h"

namespace tpb::fuzz {

Recipe& Recipe::PutRaw(std::span<const std::byte> bytes) {
  const auto* first = reinterpret_cast<const std::uint8_t*>(bytes.data());
  bytes_.insert(bytes_.end(), first, first + bytes.size());
  return *this;
}

Recipe& Recipe::PutBytes(std::span<const std::byte> bytes) {
  return Put(static_cast<std::uint16_t>(bytes.size())).PutRaw(bytes);
}

Recipe& Recipe::PutMessage(Step step, const Message& message) {
  return Put(step)
      .Put(static_cast<std::uint8_t>(message.kind))
      .Put(message.flags)
      .Put(message.id)
      .Put(message.sent_before)
      .Put(message.word)
      .PutBytes(message.body);
}

Recipe& Recipe::PutPoke(Area area, std::uint32_t offset, std::span<const std::byte> bytes) {
  return Put(Step::kPoke).Put(area).Put(offset).PutBytes(bytes);
}

}  // namespace tpb::fuzz
