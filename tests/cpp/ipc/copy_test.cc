#include "ipc/copy.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "ipc/stream_copy.h"
#include "tests/cpp/check.h"

namespace tpb {
namespace {

constexpr std::byte kUntouched{0xAA};

std::vector<std::byte> Pattern(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
  }
  return bytes;
}

// `copy` moves exactly the bytes that it should, wherever they start.
template <typename CopyFunction>
void CheckCopy(CopyFunction&& copy, std::size_t size, std::size_t to, std::size_t from) {
  const auto source = Pattern(size + from);
  std::vector<std::byte> target(size + to + 1, kUntouched);

  copy(target.data() + to, source.data() + from, size);

  CHECK(std::equal(source.begin() + static_cast<std::ptrdiff_t>(from), source.end(),
                   target.begin() + static_cast<std::ptrdiff_t>(to)));
  CHECK(to == 0 || target[to - 1] == kUntouched);
  CHECK(target[to + size] == kUntouched);
}

TEST(Copy, StreamsEverySizeFromAndToEveryAlignment) {
  for (const std::size_t size : {0U, 1U, 15U, 63U, 64U, 65U, 127U, 128U, 300U}) {
    for (std::size_t to = 0; to < 65; to += 3) {
      for (std::size_t from = 0; from < 65; from += 5) {
        CheckCopy(ipc::StreamCopy, size, to, from);
      }
    }
  }
}

TEST(Copy, IsRightOnBothSidesOfTheThreshold) {
  const std::uint64_t threshold = ipc::kCanStream ? ipc::StreamingThreshold() : 8U << 20U;
  for (const std::uint64_t size : {threshold - 1, threshold, threshold + 1000}) {
    CheckCopy(ipc::Copy, size, 1, 3);
  }
}

TEST(Copy, TakesNothingFromNowhere) {
  std::byte here = kUntouched;

  ipc::Copy(nullptr, nullptr, 0);
  ipc::Copy(&here, nullptr, 0);

  CHECK(here == kUntouched);
}

TEST(Copy, StreamsOnlyWhatIsMuchLargerThanARequestOfOneMegabyte) {
  CHECK(ipc::StreamingThreshold() >= 4U << 20U);
}

}  // namespace
}  // namespace tpb
