#include "ipc/channel.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "ipc/error.h"

namespace tpb::ipc {
namespace {

constexpr std::uint32_t kWorkSlots = 64;
constexpr std::uint64_t kMinArena = std::uint64_t{1} << 20;

std::uint64_t RoundUp(std::uint64_t size, std::uint64_t unit) { return (size + unit - 1) / unit * unit; }

// [control and memory line, rings, call slots, completion line, cancellation words][server arena][stub
// arena], each a whole number of pages, so that the last can be read-only in the server.
Layout Plan(std::uint64_t max_bytes, std::uint32_t event_slots, const MemoryRules& memory_rules) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  Layout layout{};
  std::uint64_t offset = 0;
  const auto place = [&offset](std::uint32_t capacity) {
    const RingExtent ring{.offset = offset, .capacity = capacity, .reserved = 0};
    offset += RoundUp(RingBytes(capacity), kAlignment);
    return ring;
  };
  layout.control = {.offset = offset, .size = sizeof(ControlLine)};
  offset += sizeof(ControlLine);
  layout.memory = {.offset = offset, .size = sizeof(MemoryLine)};
  offset += sizeof(MemoryLine);
  layout.work = place(kWorkSlots);
  layout.replies = place(kWorkSlots);
  layout.events = place(event_slots);
  layout.calls = {.offset = offset, .size = kCallSlots * sizeof(CallSlot)};
  offset += layout.calls.size;
  layout.completions = {.offset = offset, .size = sizeof(CompletionLine)};
  offset += sizeof(CompletionLine);
  layout.cancellations = {.offset = offset, .size = kCancellationWords * sizeof(CancellationWord)};
  offset += layout.cancellations.size;
  offset = RoundUp(offset, page);
  const std::uint64_t minimum = offset + 2 * kMinArena;
  if (max_bytes < minimum) {
    throw Error(Code::kInvalidArg, "shared memory of at most " + std::to_string(max_bytes) +
                                       " bytes is too small for a model instance: at least " +
                                       std::to_string(minimum) + " are needed");
  }
  const std::uint64_t arena = (max_bytes - offset) / 2 / page * page;
  layout.server_arena = {.offset = offset, .size = arena};
  layout.stub_arena = {.offset = offset + arena, .size = arena};
  layout.region_size = offset + 2 * arena;
  layout.memory_rules = memory_rules;
  return layout;
}

bool Inside(const Extent& extent, std::uint64_t offset, std::uint64_t size) {
  return offset <= extent.size && size <= extent.size - offset;
}

bool RingInside(const Layout& layout, const RingExtent& ring) {
  return ring.capacity <= kMaxCount && ring.offset % kAlignment == 0 &&
         Inside({0, layout.region_size}, ring.offset, RingBytes(ring.capacity));
}

bool ExtentInside(const Layout& layout, const Extent& extent, std::uint64_t least) {
  return extent.size >= least && extent.offset % kAlignment == 0 &&
         Inside({0, layout.region_size}, extent.offset, extent.size);
}

// A whole block fits, and blocks will be aligned.
bool ArenaInside(const Layout& layout, const Extent& arena) {
  return ExtentInside(layout, arena, kAlignment);
}

// The stub believes the server, but a layout that does not fit its own region is a bug worth a sentence, not
// a crash.
void CheckLayout(const Layout& layout) {
  const bool fits = ArenaInside(layout, layout.server_arena) && ArenaInside(layout, layout.stub_arena) &&
                    RingInside(layout, layout.work) && RingInside(layout, layout.replies) &&
                    RingInside(layout, layout.events) &&
                    ExtentInside(layout, layout.control, sizeof(ControlLine)) &&
                    ExtentInside(layout, layout.memory, sizeof(MemoryLine)) &&
                    ExtentInside(layout, layout.calls, sizeof(CallSlot)) &&
                    ExtentInside(layout, layout.completions, sizeof(CompletionLine)) &&
                    ExtentInside(layout, layout.cancellations, sizeof(CancellationWord));
  if (!fits) {
    throw ProtocolError("the server's hello describes a layout that does not fit its region");
  }
}

std::vector<std::byte> Copy(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

std::span<std::byte> Part(const Region& region, const Extent& extent, std::uint64_t offset,
                          std::uint64_t size, const char* whose) {
  if (!Inside(extent, offset, size)) {
    throw ProtocolError("a message names " + std::to_string(size) + " bytes at " + std::to_string(offset) +
                        ", outside the arena of the " + whose);
  }
  return {region.data() + extent.offset + offset, size};
}

std::span<CallSlot> CallSlotsOf(const Region& region, const Layout& layout) {
  return {reinterpret_cast<CallSlot*>(region.data() + layout.calls.offset),
          layout.calls.size / sizeof(CallSlot)};
}

CompletionLine& CompletionLineOf(const Region& region, const Layout& layout) {
  return *reinterpret_cast<CompletionLine*>(region.data() + layout.completions.offset);
}

std::span<CancellationWord> CancellationWordsOf(const Region& region, const Layout& layout) {
  return {reinterpret_cast<CancellationWord*>(region.data() + layout.cancellations.offset),
          layout.cancellations.size / sizeof(CancellationWord)};
}

MemoryLine& MemoryLineOf(const Region& region, const Layout& layout) {
  return *reinterpret_cast<MemoryLine*>(region.data() + layout.memory.offset);
}

void CheckMessageSize(const Slot& slot) {
  if (slot.size > kMaxMessageBytes) {
    throw ProtocolError("a message of " + std::to_string(slot.size) + " bytes");
  }
}

}  // namespace

std::unique_ptr<ServerChannel> ServerChannel::Create(const Options& options) {
  const Layout layout = Plan(RegionSizeLimit(options.max_bytes), options.event_slots, options.memory_rules);
  auto region = Region::Create(options.name, layout.region_size, layout.stub_arena.offset);
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) {
    ThrowErrno("Unable to create an eventfd for a stub process", errno);
  }
  return std::unique_ptr<ServerChannel>(
      new ServerChannel(std::move(region), std::move(wake), layout, options.budget));
}

ServerChannel::ServerChannel(std::shared_ptr<Region> region, UniqueFd eventfd, const Layout& layout,
                             std::shared_ptr<Budget> budget)
    : region_(std::move(region)),
      eventfd_(std::move(eventfd)),
      layout_(layout),
      arena_(Arena::Create(region_, layout.server_arena,
                           {.rules = layout.memory_rules, .line = nullptr, .budget = std::move(budget)})),
      work_(region_->data() + layout.work.offset, layout.work.capacity, -1),
      replies_(region_->data() + layout.replies.offset, layout.replies.capacity),
      events_(region_->data() + layout.events.offset, layout.events.capacity) {}

ControlLine& ServerChannel::control() noexcept {
  return *reinterpret_cast<ControlLine*>(region_->data() + layout_.control.offset);
}

std::span<CallSlot> ServerChannel::calls() noexcept { return CallSlotsOf(*region_, layout_); }

CompletionLine& ServerChannel::completions() noexcept { return CompletionLineOf(*region_, layout_); }

std::span<CancellationWord> ServerChannel::cancellations() noexcept {
  return CancellationWordsOf(*region_, layout_);
}

Arena::Usage ServerChannel::StubUsage() const noexcept {
  const MemoryLine& line = MemoryLineOf(*region_, layout_);
  const std::uint64_t limit = layout_.stub_arena.size;
  return {.used = std::min(line.used.load(std::memory_order_relaxed), limit),
          .pool = std::min(line.pool.load(std::memory_order_relaxed), limit)};
}

std::vector<std::byte> ServerChannel::CopyBody(const Slot& slot) const {
  CheckMessageSize(slot);
  return Copy(StubBytes(slot.offset, slot.size));
}

std::span<const std::byte> ServerChannel::StubBytes(std::uint64_t offset, std::uint64_t size) const {
  return Part(*region_, layout_.stub_arena, offset, size, "stub");
}

std::unique_ptr<StubChannel> StubChannel::Attach(Welcome welcome) {
  CheckLayout(welcome.layout);
  auto region = Region::Attach(std::move(welcome.memfd), welcome.layout.region_size);
  return std::unique_ptr<StubChannel>(
      new StubChannel(std::move(region), std::move(welcome.eventfd), welcome.layout));
}

StubChannel::StubChannel(std::shared_ptr<Region> region, UniqueFd eventfd, const Layout& layout)
    : region_(std::move(region)),
      eventfd_(std::move(eventfd)),
      layout_(layout),
      arena_(Arena::Create(
          region_, layout.stub_arena,
          {.rules = layout.memory_rules, .line = &MemoryLineOf(*region_, layout), .budget = nullptr})),
      work_(region_->data() + layout.work.offset, layout.work.capacity),
      replies_(region_->data() + layout.replies.offset, layout.replies.capacity, -1),
      events_(region_->data() + layout.events.offset, layout.events.capacity, eventfd_.get()) {}

const ControlLine& StubChannel::control() const noexcept {
  return *reinterpret_cast<const ControlLine*>(region_->data() + layout_.control.offset);
}

std::span<CallSlot> StubChannel::calls() noexcept { return CallSlotsOf(*region_, layout_); }

CompletionLine& StubChannel::completions() noexcept { return CompletionLineOf(*region_, layout_); }

std::span<CancellationWord> StubChannel::cancellations() noexcept {
  return CancellationWordsOf(*region_, layout_);
}

std::vector<std::byte> StubChannel::CopyBody(const Slot& slot) const {
  CheckMessageSize(slot);
  return Copy(ServerBytes(slot.offset, slot.size));
}

std::span<std::byte> StubChannel::ServerBytes(std::uint64_t offset, std::uint64_t size) const {
  return Part(*region_, layout_.server_arena, offset, size, "server");
}

std::vector<Block> PutBody(Arena& arena, std::span<const std::byte> body, Slot& slot) {
  std::vector<Block> blocks;
  if (!body.empty()) {
    blocks.push_back(arena.Allocate(body.size()));
    std::memcpy(blocks.back().data(), body.data(), body.size());
    slot.offset = blocks.back().offset();
    slot.size = body.size();
  }
  return blocks;
}

}  // namespace tpb::ipc
