#include "stub/signals.h"

#include <pthread.h>

#include <array>
#include <csignal>

#include "ipc/error.h"

namespace tpb::stub {
namespace {

struct Ignored {
  int number;
  struct sigaction before;
};

// Like the dispositions themselves, one per process.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
std::array<Ignored, 2> ignored{{{.number = SIGINT, .before = {}}, {.number = SIGTERM, .before = {}}}};

void DoNothing(int /*number*/) {}

void RestoreInForkedChild() {
  for (const Ignored& signal : ignored) {
    struct sigaction now{};
    ::sigaction(signal.number, nullptr, &now);
    if (now.sa_handler == DoNothing) {  // else the model has chosen otherwise
      ::sigaction(signal.number, &signal.before, nullptr);
    }
  }
}

}  // namespace

void IgnoreStopSignals() {
  static const int failure = ::pthread_atfork(nullptr, nullptr, RestoreInForkedChild);
  if (failure != 0) {
    ipc::ThrowErrno("Unable to watch for forks", failure);
  }
  struct sigaction nothing{};
  nothing.sa_handler = DoNothing;
  nothing.sa_flags = SA_RESTART;
  sigemptyset(&nothing.sa_mask);
  for (Ignored& signal : ignored) {
    struct sigaction now{};
    ::sigaction(signal.number, nullptr, &now);
    if (now.sa_handler != DoNothing) {
      signal.before = now;
      ::sigaction(signal.number, &nothing, nullptr);
    }
  }
}

}  // namespace tpb::stub
