// How a server tells a stub that a request was cancelled: one word per request that the stub asks about.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "ipc/wire.h"

namespace tpb::ipc {

// Server: `id` is cancelled, or not yet. Any thread, never waits.
void TellCancellation(CancellationWord& word, std::uint64_t id, bool cancelled) noexcept;

// Stub: its free words, and what they say. Any thread.
class CancellationWords {
 public:
  explicit CancellationWords(std::span<CancellationWord> words);

  // A word for one request, or nothing while all are in use.
  std::optional<std::uint32_t> Take();
  void GiveBack(std::uint32_t word);

  // What the server said last about `id`; nothing before it has said anything.
  [[nodiscard]] std::optional<bool> Read(std::uint32_t word, std::uint64_t id) const noexcept;

  // Sleeps until the server has said something; asks `gone` once a second, and gives up when that is true.
  bool Await(std::uint32_t word, std::uint64_t id, const std::function<bool()>& gone);

 private:
  const std::span<CancellationWord> words_;
  std::mutex mutex_;
  std::vector<std::uint32_t> free_;
};

}  // namespace tpb::ipc
