// SIGINT and SIGTERM ask the generator to end in an orderly way: a server that is killed may leave processes
// and shared memory behind, a server that is stopped does not.
#pragma once

#include <stdexcept>

namespace tpb::bench {

class Stopped : public std::runtime_error {
 public:
  Stopped() : std::runtime_error("stopped by a signal") {}
};

void ListenForStop();
bool StopRequested() noexcept;

// Throws Stopped once a signal has come.
void ThrowIfStopped();

}  // namespace tpb::bench
