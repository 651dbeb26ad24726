// The generator's command line: --name=value each.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "benchmarks/generator/measure.h"
#include "benchmarks/generator/payload.h"
#include "benchmarks/generator/server.h"

namespace tpb::bench {

struct Arguments {
  std::string server_library;
  ServerSettings server;
  std::string model;
  PayloadKind payload = PayloadKind::kIdentity;
  std::size_t size = 64;  // bytes of each tensor
  std::size_t clients = 1;
  Limit warm_up{.requests = 1000, .time = std::chrono::duration<double>(0.5)};
  Limit window{.requests = 1'000'000, .time = std::chrono::duration<double>(1)};
  std::uint64_t whole_every = 1000;
  // Above zero, loads are timed, that many, and not requests.
  std::uint64_t loads = 0;
};

// Throws std::invalid_argument with a sentence for the person.
Arguments ParseArguments(std::span<const char* const> words);

}  // namespace tpb::bench
