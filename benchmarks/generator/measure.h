// Lets clients ask at the same time, each as fast as it gets answers, and counts what came of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "benchmarks/generator/client.h"

namespace tpb::bench {

// Whichever comes first; every client asks at least once.
struct Limit {
  std::uint64_t requests = 0;
  std::chrono::duration<double> time{};
};

struct Measurement {
  std::vector<std::chrono::nanoseconds> latencies;  // sorted
  std::chrono::nanoseconds elapsed{};
  // Processor time of this process and its descendants, without the clients' threads ...
  std::chrono::nanoseconds server_cpu{};
  // ... and of those: making inputs, handing requests over, checking answers.
  std::chrono::nanoseconds client_cpu{};
  std::uint64_t warm_up_requests = 0;
  // Of the warm-up's requests as well:
  std::uint64_t checked_whole = 0;
  std::uint64_t wrong = 0;
  std::string first_difference;
};

// Of each client's requests, the first and then one of `whole_every` are changed and checked in every byte.
Measurement Measure(std::span<const std::unique_ptr<Client>> clients, Limit limit, std::uint64_t whole_every);

}  // namespace tpb::bench
