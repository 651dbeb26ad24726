// The questions of a stub and their answers; the other messages are in messages.cc.
#include <bit>
#include <string>

#include "ipc/messages.h"

namespace tpb::ipc {

void Encode(const Ask& message, Writer& writer) {
  writer.Put(AskRecord{.kind = static_cast<std::uint32_t>(message.kind),
                       .slot = message.slot,
                       .handle = message.handle,
                       .option = message.option,
                       .pair_count = static_cast<std::uint32_t>(message.pairs.size())});
  writer.PutString(message.name);
  writer.PutString(message.text);
  for (const auto& [key, value] : message.pairs) {
    writer.PutString(key);
    writer.PutString(value);
  }
  std::vector<std::int64_t> bits;
  bits.reserve(message.numbers.size());
  for (const double number : message.numbers) {
    bits.push_back(std::bit_cast<std::int64_t>(number));
  }
  writer.PutNumbers(bits);
}

Ask DecodeAsk(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  const auto record = reader.Get<AskRecord>();
  if (record.kind > static_cast<std::uint32_t>(AskKind::kIsModelReady)) {
    throw ProtocolError("a question of kind " + std::to_string(record.kind));
  }
  if (record.pair_count > kMaxCount) {
    throw ProtocolError("a question with " + std::to_string(record.pair_count) + " pairs of texts");
  }
  Ask message;
  message.kind = static_cast<AskKind>(record.kind);
  message.slot = record.slot;
  message.handle = record.handle;
  message.option = record.option;
  message.name = reader.GetString();
  message.text = reader.GetString();
  for (std::uint32_t i = record.pair_count; i > 0; --i) {
    const std::string_view key = reader.GetString();
    message.pairs.emplace_back(key, reader.GetString());
  }
  for (const std::int64_t bits : reader.GetNumbers(kMaxCount)) {
    message.numbers.push_back(std::bit_cast<double>(bits));
  }
  reader.ExpectEnd();
  return message;
}

void Encode(const AskAnswer& message, Writer& writer) {
  writer.Put(AskAnswerRecord{.failed = message.failed ? 1U : 0U,
                             .code = static_cast<std::uint32_t>(message.code),
                             .bits = message.bits});
  writer.PutString(message.text);
}

AskAnswer DecodeAskAnswer(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  const auto record = reader.Get<AskAnswerRecord>();
  AskAnswer message;
  message.failed = record.failed != 0;
  message.code = CodeFromWire(record.code);
  message.bits = record.bits;
  message.text = reader.GetString();
  reader.ExpectEnd();
  return message;
}

}  // namespace tpb::ipc
