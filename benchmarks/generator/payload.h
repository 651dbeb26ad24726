// What one client asks, and how it tells a right answer from a wrong one.
//
// The inputs differ from request to request, and the buffers for the answer are filled with nonsense before
// each, so an answer that is stale, mixed up or half written is noticed. For small tensors all of that
// happens to every byte. For large ones it would cost more than what is measured: there, most requests change
// and check four bytes of each 4 KiB, and some of them everything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "triton_c_api/types.h"

namespace tpb::bench {

enum class PayloadKind {
  kIdentity,  // IN (FP32) comes back as OUT
  kAddSub,    // INPUT0, INPUT1 (FP32) come back as their sum OUTPUT0 and difference OUTPUT1
  kStrings,   // IN (BYTES, strings of 16 bytes) comes back as OUT
};

enum class Extent { kProbes, kWhole };

struct Tensor {
  std::string name;
  TRITONSERVER_DataType dtype = TRITONSERVER_TYPE_INVALID;
  std::vector<std::int64_t> shape;
  // The bytes as core takes them. All the kinds above consist of 4-byte words.
  std::vector<std::uint32_t> words;

  [[nodiscard]] std::size_t byte_size() const noexcept { return words.size() * sizeof(words.front()); }
};

// An output as a response describes it.
struct Answered {
  std::string_view name;
  TRITONSERVER_DataType dtype = TRITONSERVER_TYPE_INVALID;
  std::span<const std::int64_t> shape;
  const void* base = nullptr;
  std::size_t byte_size = 0;
};

class Payload {
 public:
  // `bytes` is the size of one tensor: of its numbers, or of its strings without their lengths. Clients with
  // different seeds ask for different things.
  Payload(PayloadKind kind, std::size_t bytes, std::uint32_t seed);

  [[nodiscard]] const std::vector<Tensor>& inputs() const noexcept { return inputs_; }

  // Changes the inputs and spoils the buffers for the outputs.
  void Renew(Extent extent);

  // The buffer for an output, warm and always the same one; null where no output of this name and size is
  // due.
  void* OutputBuffer(std::string_view name, std::size_t byte_size);

  // What is wrong with the answer to the inputs as they are now; empty if nothing.
  [[nodiscard]] std::string Difference(std::span<const Answered> answer, Extent extent) const;

 private:
  [[nodiscard]] std::uint32_t Input(std::size_t index) const noexcept;
  [[nodiscard]] std::uint32_t Expected(std::size_t output, std::size_t index) const noexcept;
  [[nodiscard]] std::string Difference(std::size_t output, const Answered& answered, Extent extent) const;

  PayloadKind kind_;
  std::uint32_t round_;
  std::vector<Tensor> inputs_;
  std::vector<Tensor> outputs_;
};

}  // namespace tpb::bench
