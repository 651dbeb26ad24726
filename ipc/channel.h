// A conversation between a server and one attached stub: a region with two arenas and three rings. A channel
// belongs to an attachment, never to a process: a stub may have several (a forked child of a model opens its
// own).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ipc/arena.h"
#include "ipc/handshake.h"
#include "ipc/region.h"
#include "ipc/ring.h"
#include "ipc/unique_fd.h"
#include "ipc/wire.h"

namespace tpb::ipc {

// The server's end: produces work, consumes replies and events, allocates from its arena and may read the
// stub's.
class ServerChannel {
 public:
  struct Options {
    std::string name;             // shows in /proc/<pid>/maps
    std::uint64_t max_bytes = 0;  // of the whole region; 0 = what the machine has
    std::uint32_t event_slots = 1024;
    MemoryRules memory_rules = kDefaultMemoryRules;
    std::shared_ptr<Budget> budget = nullptr;  // of all channels of the server; or null
  };
  static std::unique_ptr<ServerChannel> Create(const Options& options);

  [[nodiscard]] const Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] int memfd() const noexcept { return region_->fd(); }
  [[nodiscard]] int eventfd() const noexcept { return eventfd_.get(); }

  RingProducer& work() noexcept { return work_; }
  RingConsumer& replies() noexcept { return replies_; }
  RingConsumer& events() noexcept { return events_; }
  ControlLine& control() noexcept;
  std::span<CallSlot> calls() noexcept;
  CompletionLine& completions() noexcept;
  std::span<CancellationWord> cancellations() noexcept;
  [[nodiscard]] const std::shared_ptr<Arena>& arena() const noexcept { return arena_; }

  // What the stub says of its arena, at most as much as that has.
  [[nodiscard]] Arena::Usage StubUsage() const noexcept;

  // The body of a message from the stub, copied out of its arena. Throws ProtocolError when it lies
  // elsewhere.
  [[nodiscard]] std::vector<std::byte> CopyBody(const Slot& slot) const;

  // Payload in the stub's arena. Throws ProtocolError when it lies elsewhere. Read it once: the stub can
  // change it.
  [[nodiscard]] std::span<const std::byte> StubBytes(std::uint64_t offset, std::uint64_t size) const;

 private:
  ServerChannel(std::shared_ptr<Region> region, UniqueFd eventfd, const Layout& layout,
                std::shared_ptr<Budget> budget);

  std::shared_ptr<Region> region_;
  UniqueFd eventfd_;
  Layout layout_;
  std::shared_ptr<Arena> arena_;
  RingProducer work_;
  RingConsumer replies_;
  RingConsumer events_;
};

// The stub's end: consumes work, produces replies and events, allocates from its arena and uses blocks of the
// server's.
class StubChannel {
 public:
  static std::unique_ptr<StubChannel> Attach(Welcome welcome);

  RingConsumer& work() noexcept { return work_; }
  RingProducer& replies() noexcept { return replies_; }
  RingProducer& events() noexcept { return events_; }
  [[nodiscard]] const ControlLine& control() const noexcept;
  [[nodiscard]] const MemoryRules& memory_rules() const noexcept { return layout_.memory_rules; }
  [[nodiscard]] std::uint64_t ServerArenaSize() const noexcept { return layout_.server_arena.size; }
  std::span<CallSlot> calls() noexcept;
  CompletionLine& completions() noexcept;
  std::span<CancellationWord> cancellations() noexcept;
  [[nodiscard]] const std::shared_ptr<Arena>& arena() const noexcept { return arena_; }
  [[nodiscard]] const std::shared_ptr<Region>& region() const noexcept { return region_; }

  [[nodiscard]] std::vector<std::byte> CopyBody(const Slot& slot) const;
  [[nodiscard]] std::span<std::byte> ServerBytes(std::uint64_t offset, std::uint64_t size) const;

 private:
  StubChannel(std::shared_ptr<Region> region, UniqueFd eventfd, const Layout& layout);

  std::shared_ptr<Region> region_;
  UniqueFd eventfd_;
  Layout layout_;
  std::shared_ptr<Arena> arena_;
  RingConsumer work_;
  RingProducer replies_;
  RingProducer events_;
};

// Copies `body` into a fresh block of `arena`; the slot then names it. An empty body needs no block.
std::vector<Block> PutBody(Arena& arena, std::span<const std::byte> body, Slot& slot);

}  // namespace tpb::ipc
