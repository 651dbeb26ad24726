#include "ipc/copy.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include "ipc/stream_copy.h"

namespace tpb::ipc {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kUnknownCache = 32 * kMiB;

// The last level, as the kernel shows it: "32768K". sysconf is no help here: it multiplies the size by a
// number of processors that share it, which virtual machines often have wrong.
std::optional<std::uint64_t> CacheSize(int index) {
  std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size");
  std::uint64_t size = 0;
  char unit = 0;
  if (!(file >> size)) {
    return std::nullopt;
  }
  file >> unit;
  return unit == 'M' ? size * kMiB : unit == 'K' ? size * 1024 : size;
}

std::uint64_t Threshold() noexcept {
  if (!kCanStream) {
    return std::numeric_limits<std::uint64_t>::max();
  }
  try {
    const std::uint64_t cache = CacheSize(3).value_or(kUnknownCache);
    return std::clamp(cache / 8, 4 * kMiB, 32 * kMiB);
  } catch (const std::exception&) {
    return kUnknownCache / 8;
  }
}

}  // namespace

std::uint64_t StreamingThreshold() noexcept {
  static const std::uint64_t threshold = Threshold();
  return threshold;
}

void Copy(void* to, const void* from, std::uint64_t size) noexcept {
  if (size < StreamingThreshold()) {
    if (size != 0) {
      std::memcpy(to, from, size);
    }
    return;
  }
  StreamCopy(static_cast<std::byte*>(to), static_cast<const std::byte*>(from), size);
}

}  // namespace tpb::ipc
