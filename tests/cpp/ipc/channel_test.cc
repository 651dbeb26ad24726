#include "ipc/channel.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ipc/error.h"
#include "ipc/handshake.h"
#include "ipc/peer.h"
#include "ipc/socket.h"
#include "tests/cpp/check.h"
#include "tests/cpp/process.h"

namespace tpb {
namespace {

using ipc::Deadline;
using ipc::MessageKind;
using ipc::ProtocolError;
using ipc::ServerChannel;
using ipc::Slot;
using ipc::StubChannel;
using ipc::WaitResult;

constexpr std::uint64_t kMaxBytes = std::uint64_t{8} << 20;
constexpr const char* kVersion = "1.2.3";
const std::atomic<bool> kNeverGone{false};

std::unique_ptr<ServerChannel> CreateServer() {
  return ServerChannel::Create({.name = "tpb-test-channel", .max_bytes = kMaxBytes, .event_slots = 64});
}

ipc::UniqueFd Duplicate(int fd) { return ipc::UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

std::unique_ptr<StubChannel> AttachHere(const ServerChannel& server, const ipc::Layout& layout) {
  ipc::Welcome welcome;
  welcome.layout = layout;
  welcome.memfd = Duplicate(server.memfd());
  welcome.eventfd = Duplicate(server.eventfd());
  return StubChannel::Attach(std::move(welcome));
}

std::vector<std::byte> Pattern(std::size_t size, std::uint64_t seed) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(i * 7 + seed);
  }
  return bytes;
}

bool Send(ipc::RingProducer& ring, ipc::Arena& arena, MessageKind kind, std::uint64_t id,
          std::span<const std::byte> body) {
  Slot slot{};
  slot.kind = static_cast<std::uint32_t>(kind);
  slot.id = id;
  auto blocks = ipc::PutBody(arena, body, slot);
  return ring.TryPush(slot, blocks);
}

// Takes the next message of a ring of `channel`, with a copy of its body.
template <typename Channel>
std::pair<Slot, std::vector<std::byte>> Take(const Channel& channel, ipc::RingConsumer& ring) {
  CHECK_EQ(ring.Wait(Deadline::Never(), kNeverGone), WaitResult::kMessage);
  const auto slot = ring.Peek();
  CHECK(slot.has_value());
  auto body = channel.CopyBody(*slot);
  ring.Advance();
  return {*slot, std::move(body)};
}

// A stub that reverses what it is sent, tells an event about each message, and ends at kFinalize.
void ReverseUntilTheEnd(StubChannel& channel) {
  while (true) {
    auto [slot, body] = Take(channel, channel.work());
    std::reverse(body.begin(), body.end());
    CHECK(Send(channel.events(), *channel.arena(), MessageKind::kRelease, slot.id, {}));
    CHECK(Send(channel.replies(), *channel.arena(), MessageKind::kReply, slot.id, body));
    if (slot.kind == static_cast<std::uint32_t>(MessageKind::kFinalize)) {
      return;
    }
  }
}

// What a stub process does from its first to its last moment.
void RunStub(int socket, const std::function<void(StubChannel&)>& body) {
  const auto descriptors = testing::OpenDescriptors();
  const auto mappings = testing::MemfdMappings();
  {
    ipc::SendStubHello(socket, {.package = kVersion, .python = "3.11.7"});
    const auto channel = StubChannel::Attach(ipc::ReceiveServerHello(socket, kVersion));
    body(*channel);
  }
  CHECK(testing::OpenDescriptors() == descriptors);
  CHECK(testing::MemfdMappings() == mappings);
}

// A server's channel and the process at its other end.
struct Pair {
  explicit Pair(const std::function<void(StubChannel&)>& body)
      : sockets(ipc::SocketPair()), stub([this, &body] {
          sockets.first.Reset();
          RunStub(sockets.second.get(), body);
        }) {
    sockets.second.Reset();
    ipc::ReceiveStubHello(sockets.first.get(), kVersion);
    server = CreateServer();
    ipc::SendServerHello(sockets.first.get(), kVersion, server->layout(), server->memfd(), server->eventfd(),
                         -1);
  }

  std::pair<ipc::UniqueFd, ipc::UniqueFd> sockets;
  testing::Child stub;
  std::unique_ptr<ServerChannel> server;
};

// Waits for the doorbell of the events ring, as a service thread does, and takes one event. A doorbell may
// have been rung for an event that was taken already, without having slept: then there is nothing yet.
Slot TakeEvent(ServerChannel& server) {
  auto slot = server.events().Peek();
  while (!slot) {
    if (server.events().PrepareToSleep()) {
      const int doorbell = server.eventfd();
      CHECK_EQ(ipc::WaitReadable(&doorbell, 1, Deadline::Never()), 0);
      eventfd_t rung = 0;
      CHECK_EQ(::eventfd_read(doorbell, &rung), 0);
    }
    server.events().Awake();
    slot = server.events().Peek();
  }
  server.events().Advance();
  return *slot;
}

TEST(Channel, CarriesBodiesBetweenTwoProcessesAndLeavesNothing) {
  const auto descriptors = testing::OpenDescriptors();
  const auto mappings = testing::MemfdMappings();
  {
    Pair pair(ReverseUntilTheEnd);
    ServerChannel& server = *pair.server;
    for (std::uint64_t id = 1; id <= 500; ++id) {
      const auto kind = id == 500 ? MessageKind::kFinalize : MessageKind::kExecute;
      auto body = Pattern(id % 17 == 0 ? 0 : id * 100, id);
      CHECK(Send(server.work(), *server.arena(), kind, id, body));

      CHECK_EQ(TakeEvent(server).id, id);
      const auto [slot, answer] = Take(server, server.replies());
      CHECK_EQ(slot.id, id);
      std::reverse(body.begin(), body.end());
      CHECK(answer == body);
    }
    server.work().Reclaim();
    CHECK_EQ(server.arena()->BytesInUse(), 0U);
    CHECK_EQ(pair.stub.Wait(), "exit 0");
  }

  CHECK(testing::OpenDescriptors() == descriptors);
  CHECK(testing::MemfdMappings() == mappings);
}

TEST(Channel, BothSidesUseTheSamePayloadMemory) {
  const auto server = CreateServer();
  const auto stub = AttachHere(*server, server->layout());
  ipc::Block input = server->arena()->Allocate(1000);
  const ipc::Block output = stub->arena()->Allocate(1000);

  input.data()[999] = std::byte{1};
  output.data()[999] = std::byte{2};

  CHECK_EQ(stub->ServerBytes(input.offset(), 1000)[999], std::byte{1});
  CHECK_EQ(server->StubBytes(output.offset(), 1000)[999], std::byte{2});
  stub->ServerBytes(input.offset(), 1000)[0] = std::byte{3};  // a model may write into its inputs
  CHECK_EQ(input.data()[0], std::byte{3});
}

TEST(Channel, TheServerCannotWriteWhereTheStubAllocates) {
  const auto server = CreateServer();
  const auto stub_arena = server->StubBytes(0, server->layout().stub_arena.size);
  volatile auto* first = const_cast<std::byte*>(&stub_arena.front());
  volatile auto* last = const_cast<std::byte*>(&stub_arena.back());
  volatile auto* own = server->arena()->data() + server->arena()->size() - 1;

  CHECK_EQ(testing::RunInChild([first] { *first = std::byte{1}; }), "signal 11");
  CHECK_EQ(testing::RunInChild([last] { *last = std::byte{1}; }), "signal 11");
  CHECK_EQ(testing::RunInChild([own] { *own = std::byte{1}; }), "exit 0");
}

TEST(Channel, ABodyOutsideTheArenaIsRefused) {
  const auto server = CreateServer();
  const auto stub = AttachHere(*server, server->layout());
  const std::uint64_t size = stub->arena()->size();
  constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();

  for (const auto& [offset, bytes] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{{size - 8, 16},
                                                                                          {size, 1},
                                                                                          {size + 1, 0},
                                                                                          {0, size + 1},
                                                                                          {kMost, 1},
                                                                                          {kMost - 7, 16},
                                                                                          {16, kMost - 8},
                                                                                          {kMost, kMost}}) {
    Slot slot{};
    slot.offset = offset;
    slot.size = bytes;
    CHECK_THROWS(ProtocolError, server->CopyBody(slot));
    CHECK_THROWS(ProtocolError, stub->CopyBody(slot));
    CHECK_THROWS(ProtocolError, server->StubBytes(offset, bytes));
    CHECK_THROWS(ProtocolError, stub->ServerBytes(offset, bytes));
  }
  CHECK_EQ(server->StubBytes(0, size).size(), size);
  CHECK_EQ(server->StubBytes(size, 0).size(), 0U);
}

TEST(Channel, ABodyBeyondTheLargestMessageIsRefusedThoughItWouldFit) {
  const auto server = ServerChannel::Create(
      {.name = "tpb-test-channel", .max_bytes = 4 * ipc::kMaxMessageBytes, .event_slots = 64});
  Slot slot{};
  slot.size = ipc::kMaxMessageBytes + 1;

  CHECK(server->layout().stub_arena.size > slot.size);
  CHECK_THROWS(ProtocolError, server->CopyBody(slot));
}

TEST(Channel, AnEmptyBodyTakesNoBlock) {
  const auto server = CreateServer();
  Slot slot{};

  CHECK(ipc::PutBody(*server->arena(), {}, slot).empty());

  CHECK_EQ(slot.size, 0U);
  CHECK_EQ(server->arena()->BytesInUse(), 0U);
}

TEST(Channel, ItsPartsDoNotOverlapAndFitThePages) {
  const auto server = CreateServer();
  const ipc::Layout& layout = server->layout();
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::vector<ipc::Extent> parts{
      layout.control,
      layout.memory,
      {layout.work.offset, ipc::RingBytes(layout.work.capacity)},
      {layout.replies.offset, ipc::RingBytes(layout.replies.capacity)},
      {layout.events.offset, ipc::RingBytes(layout.events.capacity)},
      layout.calls,
      layout.server_arena,
      layout.stub_arena,
      {layout.region_size, 0},
  };

  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    CHECK(parts[i].offset + parts[i].size <= parts[i + 1].offset);
    CHECK_EQ(parts[i].offset % ipc::kAlignment, 0U);
  }
  CHECK_EQ(layout.stub_arena.offset % page, 0U);
  CHECK(layout.region_size <= kMaxBytes);
  CHECK_EQ(layout.events.capacity, 64U);
  CHECK_EQ(layout.control.size, sizeof(ipc::ControlLine));
  CHECK_EQ(layout.calls.size, ipc::kCallSlots * sizeof(ipc::CallSlot));
}

TEST(Channel, BothSidesUseTheSameControlLineAndCallSlots) {
  const auto server = CreateServer();
  const auto stub = AttachHere(*server, server->layout());
  CHECK_EQ(server->calls().size(), ipc::kCallSlots);
  CHECK_EQ(stub->calls().size(), ipc::kCallSlots);

  server->control().log_levels = 5;
  server->calls().front().lease = 1;
  server->calls().back().lease = 2;

  CHECK_EQ(stub->control().log_levels.load(), 5U);
  CHECK_EQ(stub->calls().front().lease, 1U);
  CHECK_EQ(stub->calls().back().lease, 2U);
}

TEST(Channel, BothArenasFollowTheRulesOfTheHello) {
  const auto server = ServerChannel::Create(
      {.name = "tpb-test-channel",
       .max_bytes = kMaxBytes,
       .event_slots = 64,
       .memory_rules = {
           .pool_bytes = 10000, .growth_bytes = 5000, .release_after_seconds = 7, .keep_heap = 0}});
  const auto stub = AttachHere(*server, server->layout());

  const ipc::Block input = server->arena()->Allocate(10001);
  const ipc::Block output = stub->arena()->Allocate(20000);

  CHECK_EQ(stub->memory_rules().release_after_seconds, 7U);
  CHECK_EQ(server->arena()->usage().pool, 15000U);
  CHECK_EQ(stub->arena()->usage().pool, 25000U);
}

TEST(Channel, TheServerSeesWhatTheStubSaysOfItsArenaAndBelievesNoMoreThanItHas) {
  const auto server = CreateServer();
  const auto stub = AttachHere(*server, server->layout());
  const ipc::Block block = stub->arena()->Allocate(3 << 20);
  CHECK_EQ(server->StubUsage().used, 3U << 20);
  CHECK_EQ(server->StubUsage().pool, 3U << 20);

  auto& line = *reinterpret_cast<ipc::MemoryLine*>(stub->region()->data() + server->layout().memory.offset);
  line.used = ~std::uint64_t{0};
  line.pool = ~std::uint64_t{0};

  CHECK_EQ(server->StubUsage().used, server->layout().stub_arena.size);
  CHECK_EQ(server->StubUsage().pool, server->layout().stub_arena.size);
}

TEST(Channel, TooLittleMemoryIsASentence) {
  const std::string text = CHECK_THROWS(
      ipc::Error, ServerChannel::Create({.name = "tpb-test-channel", .max_bytes = 4096, .event_slots = 64}));

  CHECK(text.starts_with("shared memory of at most 4096 bytes is too small for a model instance: at least "));
}

TEST(Channel, BecomesSmallerWhereTheProcessMayNotWriteLargeFiles) {
  CHECK_EQ(testing::RunInChild([] {
             rlimit limit{};
             CHECK_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
             limit.rlim_cur = kMaxBytes / 2 + 100;
             CHECK_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);

             const auto server = CreateServer();

             struct stat status{};
             CHECK_EQ(::fstat(server->memfd(), &status), 0);
             CHECK_EQ(status.st_size, server->layout().region_size);
             CHECK(server->layout().region_size <= limit.rlim_cur);
             CHECK(server->layout().region_size > limit.rlim_cur / 2);
           }),
           "exit 0");
}

TEST(Channel, AStubRefusesALayoutThatDoesNotFit) {
  const auto server = CreateServer();
  const auto before = testing::OpenDescriptors();
  const std::vector<std::pair<const char*, std::function<void(ipc::Layout&)>>> lies{
      {"a larger region", [](auto& layout) { layout.region_size += 4096; }},
      {"a smaller region", [](auto& layout) { layout.region_size -= 4096; }},
      {"an arena past the end", [](auto& layout) { layout.stub_arena.size += 1; }},
      {"an arena that wraps", [](auto& layout) { layout.server_arena.offset = ~std::uint64_t{0} - 63; }},
      {"an arena without bytes", [](auto& layout) { layout.stub_arena.size = 0; }},
      {"an arena smaller than a block", [](auto& layout) { layout.stub_arena.size = 3; }},
      {"an arena that is not aligned",
       [](auto& layout) { layout.stub_arena = {layout.stub_arena.offset - 8, 4096}; }},
      {"a memory line past the end", [](auto& layout) { layout.memory.offset = layout.region_size; }},
      {"a memory line that is too short", [](auto& layout) { layout.memory.size = 32; }},
      {"a ring past the end", [](auto& layout) { layout.events.offset = layout.region_size - 64; }},
      {"a ring that wraps", [](auto& layout) { layout.work.offset = ~std::uint64_t{0} - 63; }},
      {"a ring that is not aligned", [](auto& layout) { layout.replies.offset += 8; }},
      {"a ring without slots", [](auto& layout) { layout.work.capacity = 0; }},
      {"a ring of an odd size", [](auto& layout) { layout.events.capacity = 63; }},
      {"a ring of all slots there are", [](auto& layout) { layout.events.capacity = 0x80000000; }},
      {"a control line past the end", [](auto& layout) { layout.control.offset = layout.region_size; }},
      {"a control line that is too short", [](auto& layout) { layout.control.size = 63; }},
      {"a control line that is not aligned", [](auto& layout) { layout.control.offset += 8; }},
      {"call slots past the end", [](auto& layout) { layout.calls.size = layout.region_size; }},
      {"call slots that wrap", [](auto& layout) { layout.calls.offset = ~std::uint64_t{0} - 63; }},
      {"call slots of an endless size", [](auto& layout) { layout.calls.size = ~std::uint64_t{0}; }},
      {"call slots that are not aligned", [](auto& layout) { layout.calls.offset += 8; }},
      {"less than a call slot", [](auto& layout) { layout.calls.size = 63; }},
  };

  for (const auto& [what, lie] : lies) {
    ipc::Layout layout = server->layout();
    lie(layout);
    try {
      AttachHere(*server, layout);
    } catch (const ProtocolError&) {
      CHECK(testing::OpenDescriptors() == before);
      continue;
    }
    throw testing::Failure(__FILE__, __LINE__, std::string("a stub attached to ") + what);
  }
}

TEST(Channel, AWaitEndsWhenTheStubIsKilled) {
  Pair pair([](StubChannel& channel) {
    Take(channel, channel.work());
    ::pause();
  });
  ServerChannel& server = *pair.server;
  const ipc::UniqueFd pidfd = ipc::OpenPidfd(pair.stub.pid());
  CHECK(Send(server.work(), *server.arena(), MessageKind::kExecute, 1, Pattern(100, 1)));
  std::atomic<bool> gone{false};
  auto watcher = std::async(std::launch::async, [&] {
    const int descriptor = pidfd.get();
    ipc::WaitReadable(&descriptor, 1, Deadline::Never());
    gone = true;
    server.replies().Wake();
  });

  pair.stub.Kill();

  CHECK_EQ(server.replies().Wait(Deadline::Never(), gone), WaitResult::kPeerGone);
  watcher.get();
}

}  // namespace
}  // namespace tpb
