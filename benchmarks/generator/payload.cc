#include "benchmarks/generator/payload.h"

#include <algorithm>
#include <bit>
#include <stdexcept>

namespace tpb::bench {
namespace {

constexpr std::size_t kWordsPerPage = 1024;
constexpr std::uint32_t kNonsense = 0xa5a5a5a5;
// A string on the wire: its length in one word, its bytes in four.
constexpr std::uint32_t kStringBytes = 16;
constexpr std::size_t kWordsPerString = 1 + kStringBytes / sizeof(std::uint32_t);

std::size_t Words(PayloadKind kind, std::size_t bytes) {
  const std::size_t unit = kind == PayloadKind::kStrings ? kStringBytes : sizeof(std::uint32_t);
  if (bytes == 0 || bytes % unit != 0) {
    throw std::invalid_argument("a size of " + std::to_string(bytes) + " bytes: expected a multiple of " +
                                std::to_string(unit));
  }
  return kind == PayloadKind::kStrings ? bytes / unit * kWordsPerString : bytes / unit;
}

Tensor MakeTensor(std::string name, PayloadKind kind, std::size_t bytes) {
  const bool strings = kind == PayloadKind::kStrings;
  const std::size_t words = Words(kind, bytes);
  return {.name = std::move(name),
          .dtype = strings ? TRITONSERVER_TYPE_BYTES : TRITONSERVER_TYPE_FP32,
          .shape = {static_cast<std::int64_t>(strings ? words / kWordsPerString : words)},
          .words = std::vector<std::uint32_t>(words)};
}

// Calls `use` with the index of every word, or of one in each page and of the last.
template <typename Use>
void ForEachIndex(std::size_t words, Extent extent, Use&& use) {
  const std::size_t step = extent == Extent::kWhole || words <= kWordsPerPage ? 1 : kWordsPerPage;
  for (std::size_t i = 0; i < words; i += step) {
    use(i);
  }
  use(words - 1);
}

// Spreads the bits of a counter, so that neighbours have little in common.
std::uint32_t Mixed(std::uint32_t value) noexcept {
  value = (value ^ (value >> 16)) * 0x7feb352dU;
  value = (value ^ (value >> 15)) * 0x846ca68bU;
  return value ^ (value >> 16);
}

}  // namespace

Payload::Payload(PayloadKind kind, std::size_t bytes, std::uint32_t seed) : kind_(kind), round_(Mixed(seed)) {
  if (kind == PayloadKind::kAddSub) {
    inputs_ = {MakeTensor("INPUT0", kind, bytes), MakeTensor("INPUT1", kind, bytes)};
    outputs_ = {MakeTensor("OUTPUT0", kind, bytes), MakeTensor("OUTPUT1", kind, bytes)};
  } else {
    inputs_ = {MakeTensor("IN", kind, bytes)};
    outputs_ = {MakeTensor("OUT", kind, bytes)};
  }
  Renew(Extent::kWhole);
}

void Payload::Renew(Extent extent) {
  round_ += 0x9e3779b9U;
  for (std::size_t tensor = 0; tensor < inputs_.size(); ++tensor) {
    auto& words = inputs_[tensor].words;
    ForEachIndex(words.size(), extent, [&](std::size_t i) { words[i] = Input(i + (tensor * words.size())); });
  }
  for (auto& output : outputs_) {
    ForEachIndex(output.words.size(), extent, [&](std::size_t i) { output.words[i] = kNonsense; });
  }
}

// A word of this round's input.
std::uint32_t Payload::Input(std::size_t index) const noexcept {
  const std::uint32_t word = Mixed(round_ + static_cast<std::uint32_t>(index));
  switch (kind_) {
    case PayloadKind::kIdentity:
      return word;
    case PayloadKind::kAddSub:  // small integers, whose sums and differences a float holds exactly
      return std::bit_cast<std::uint32_t>(static_cast<float>(word & 0xfffffU));
    case PayloadKind::kStrings:  // printable
      return index % kWordsPerString == 0 ? kStringBytes : (word & 0x3f3f3f3fU) + 0x20202020U;
  }
  return word;
}

std::uint32_t Payload::Expected(std::size_t output, std::size_t index) const noexcept {
  if (kind_ != PayloadKind::kAddSub) {
    return inputs_.front().words[index];
  }
  const auto a = std::bit_cast<float>(inputs_[0].words[index]);
  const auto b = std::bit_cast<float>(inputs_[1].words[index]);
  return std::bit_cast<std::uint32_t>(output == 0 ? a + b : a - b);
}

void* Payload::OutputBuffer(std::string_view name, std::size_t byte_size) {
  for (auto& output : outputs_) {
    if (output.name == name && output.byte_size() == byte_size) {
      return output.words.data();
    }
  }
  return nullptr;
}

std::string Payload::Difference(std::span<const Answered> answer, Extent extent) const {
  if (answer.size() != outputs_.size()) {
    return std::to_string(answer.size()) + " outputs, expected " + std::to_string(outputs_.size());
  }
  for (std::size_t output = 0; output < outputs_.size(); ++output) {
    const auto& name = outputs_[output].name;
    const auto found = std::ranges::find(answer, name, &Answered::name);
    if (found == answer.end()) {
      return "no output " + name;
    }
    if (const auto difference = Difference(output, *found, extent); !difference.empty()) {
      std::string named = name;
      return named.append(": ").append(difference);
    }
  }
  return {};
}

std::string Payload::Difference(std::size_t output, const Answered& answered, Extent extent) const {
  const Tensor& due = outputs_[output];
  if (answered.dtype != due.dtype) {
    return "data type " + std::to_string(answered.dtype) + ", expected " + std::to_string(due.dtype);
  }
  if (!std::ranges::equal(answered.shape, due.shape)) {
    return "another shape than expected";
  }
  if (answered.byte_size != due.byte_size()) {
    return std::to_string(answered.byte_size) + " bytes, expected " + std::to_string(due.byte_size());
  }
  const auto* words = static_cast<const std::uint32_t*>(answered.base);
  std::string difference;
  ForEachIndex(due.words.size(), extent, [&](std::size_t i) {
    if (words[i] != Expected(output, i) && difference.empty()) {
      difference = "differs at byte " + std::to_string(i * sizeof(words[i]));
    }
  });
  return difference;
}

}  // namespace tpb::bench
