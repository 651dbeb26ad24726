// A stub without Python, for attachment_test: `stand_in_stub <socket> <how>`. It shakes hands and answers
// each message with an empty reply, while a thread of it sends events that name nothing.
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <vector>

#include "ipc/channel.h"
#include "ipc/codec.h"
#include "ipc/deadline.h"
#include "ipc/handshake.h"
#include "ipc/messages.h"

namespace {

namespace ipc = tpb::ipc;

constexpr std::uint64_t kNobodysLease = 1U << 30U;

void SendNonsense(ipc::StubChannel& channel, const std::atomic<bool>& enough) {
  while (!enough) {
    ipc::Slot slot{};
    slot.kind = static_cast<std::uint32_t>(ipc::MessageKind::kRelease);
    slot.id = kNobodysLease;
    std::vector<ipc::Block> none;
    channel.events().TryPush(slot, none);
    std::this_thread::yield();
  }
}

void Reply(ipc::StubChannel& channel, std::uint64_t id) {
  ipc::Writer body;
  ipc::Encode(ipc::Reply{}, body);
  ipc::Slot slot{};
  slot.kind = static_cast<std::uint32_t>(ipc::MessageKind::kReply);
  slot.id = id;
  auto blocks = ipc::PutBody(*channel.arena(), body.bytes(), slot);
  slot.sent_before = channel.events().pushed();
  channel.replies().TryPush(slot, blocks);
}

[[noreturn]] void Hang() {
  while (true) {
    ::pause();
  }
}

}  // namespace

int main(int /*argc*/, char** argv) {
  const int socket = std::atoi(argv[1]);
  const std::string_view how = argv[2];
  ipc::SendStubHello(socket, {.package = TPB_VERSION, .python = "none"});
  const auto channel = ipc::StubChannel::Attach(ipc::ReceiveServerHello(socket, TPB_VERSION));
  std::atomic<bool> enough{false};
  std::thread talker([&] { SendNonsense(*channel, enough); });
  const std::atomic<bool> never{false};
  while (true) {
    if (channel->work().Wait(ipc::Deadline::Never(), never) != ipc::WaitResult::kMessage) {
      continue;
    }
    const auto work = channel->work().Peek();
    if (!work) {
      continue;
    }
    channel->work().Advance();
    const auto kind = static_cast<ipc::MessageKind>(work->kind);
    if (kind == ipc::MessageKind::kExecute && how == "exits") {
      ::_exit(7);
    }
    if (kind == ipc::MessageKind::kExecute && how == "hangs") {
      Hang();
    }
    Reply(*channel, work->id);
    if (kind == ipc::MessageKind::kFinalize) {
      enough = true;
      talker.join();
      return 0;
    }
  }
}
