// What an operator can set with --backend-config=python,<key>=<value>. docs/configuration.md describes each.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

namespace tpb::backend {

struct Options {
  std::int64_t shm_default_byte_size = std::int64_t{1} << 20;
  std::int64_t shm_growth_byte_size = std::int64_t{1} << 20;
  std::uint64_t shm_max_byte_size = 0;         // 0: what the machine has
  std::uint64_t shm_total_max_byte_size = 0;   // 0: no limit
  std::string shm_region_prefix_name;          // names a memfd, which only shows in /proc
  std::chrono::seconds shm_release_after{10};  // 0: never
  bool stub_keeps_heap = true;
  std::chrono::seconds stub_timeout{30};
  std::chrono::seconds unload_timeout{120};
  bool restart = true;
  std::int64_t restart_max_deaths = 5;  // within a minute
  std::chrono::seconds restart_wait{30};
  std::string python_executable;
  std::string environment_cache_directory;                                // empty: the launcher chooses
  std::int64_t environment_cache_max_byte_size = std::int64_t{64} << 30;  // 0: no bound
  std::int64_t thread_pool_size = 32;          // accepted and checked; no thread pool exists to size
  std::int64_t shm_message_queue_size = 1000;  // slots of the events ring
};

// Checks and reads the settings that core hands to backend `name`. Throws ipc::Error (kInvalidArg) with the
// documented text for a bad value and with the nearest key for an unknown one.
Options ReadOptions(const std::map<std::string, std::string>& settings, const std::string& name);

}  // namespace tpb::backend
