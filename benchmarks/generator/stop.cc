#include "benchmarks/generator/stop.h"

#include <atomic>
#include <csignal>

namespace tpb::bench {
namespace {

std::atomic<bool>& Flag() noexcept {
  static std::atomic<bool> flag{false};
  static_assert(std::atomic<bool>::is_always_lock_free);  // a signal handler writes it
  return flag;
}

extern "C" void NoteSignal(int /*number*/) { Flag().store(true, std::memory_order_relaxed); }

}  // namespace

void ListenForStop() {
  Flag();  // constructed here, not in a handler
  struct sigaction action{};
  action.sa_handler = NoteSignal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool StopRequested() noexcept { return Flag().load(std::memory_order_relaxed); }

void ThrowIfStopped() {
  if (StopRequested()) {
    throw Stopped();
  }
}

}  // namespace tpb::bench
