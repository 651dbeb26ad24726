// How the fuzzers read their inputs, and how the seeds are written: one place for both.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ipc/wire.h"

namespace tpb::fuzz {

// The first byte of an input of fuzz_messages: what the rest is read as.
enum class Kind : std::uint8_t {
  kReply,
  kResponse,
  kCall,
  kLogLine,
  kAsk,
  kReadyAnswer,
  kHello,    // on the socket, first of all
  kStep,     // on the socket, before the hello
  kBytes,    // a BYTES tensor: the count of elements, u64, and its payload
  kPrinted,  // to stdout or stderr, in pieces: u8 their length, and the bytes
  kExecute,  // what the stub reads, from here on: the same records
  kLoad,
  kCallAnswer,
  kAskAnswer,
  kCount,
};

// What an input of fuzz_conversation consists of: each step is one of these bytes and its arguments.
enum class Step : std::uint8_t {
  kEvent,     // kind u8, flags u8, id u8, sent_before u8, word u8 (see PutMessage), body
  kReply,     // the same on the replies ring
  kSlot,      // 64 bytes, on the events ring as they are
  kPoke,      // area u8, offset u32, bytes: anywhere in the region
  kMove,      // ring u8, tail or head u8, difference i32: an index
  kHandle,    // limit u8: the service thread has its turn
  kBegin,     // requests u8: core executes a batch
  kReceive,   // the thread that executes looks for its reply
  kAnswer,    // how u8, size u8: another model answers the oldest call
  kRelease,   // core has done with the oldest call that was answered
  kCancel,    // request u8: its client has gone
  kIsReady,   // core asks whether the model is ready
  kGiveBack,  // the quiet time is over
  kCount,
};

// Where a kPoke writes.
enum class Area : std::uint8_t { kRings, kServerArena, kStubArena, kCount };

// The numbers and bytes of an input, in its order; zeros behind its end.
class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : left_(bytes) {}

  [[nodiscard]] bool empty() const noexcept { return left_.empty(); }

  template <typename Number>
  Number Get() {
    Number number{};
    const auto bytes = Take(sizeof(Number));
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<std::uint8_t*>(&number));
    return number;
  }

  std::span<const std::uint8_t> Take(std::size_t size) {
    const auto taken = left_.first(std::min(size, left_.size()));
    left_ = left_.subspan(taken.size());
    return taken;
  }

  // As Recipe::PutBytes has written them.
  std::span<const std::uint8_t> GetBytes() { return Take(Get<std::uint16_t>()); }

  std::span<const std::uint8_t> Rest() { return Take(left_.size()); }

 private:
  std::span<const std::uint8_t> left_;
};

// Writes what Input reads.
class Recipe {
 public:
  template <typename Number>
  Recipe& Put(Number number) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&number);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof(number));
    return *this;
  }
  Recipe& PutRaw(std::span<const std::byte> bytes);
  Recipe& PutBytes(std::span<const std::byte> bytes);

  // A kEvent or kReply. Without a body `word` is the slot's offset; it is always its first unused number.
  struct Message {
    ipc::MessageKind kind = ipc::MessageKind::kReply;
    std::uint8_t flags = 0;
    std::uint8_t id = 1;
    std::uint8_t sent_before = 0;
    std::uint8_t word = 0;
    std::span<const std::byte> body = {};
  };
  Recipe& PutMessage(Step step, const Message& message);
  Recipe& PutPoke(Area area, std::uint32_t offset, std::span<const std::byte> bytes);

  [[nodiscard]] const std::vector<std::uint8_t>& bytes() const noexcept { return bytes_; }

 private:
  std::vector<std::uint8_t> bytes_;
};

inline std::span<const std::byte> BytesOf(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace tpb::fuzz
