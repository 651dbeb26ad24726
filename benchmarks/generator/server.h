// A server in this process, its models loaded and unloaded one at a time by hand.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "benchmarks/generator/api.h"

namespace tpb::bench {

enum class LogLevel { kError, kInfo, kVerbose };

struct BackendSetting {
  std::string backend;
  std::string key;
  std::string value;
};

struct ServerSettings {
  std::string repository;
  std::string backend_directory;
  std::vector<BackendSetting> backend_settings;
  // Whether a backend may complete a model's configuration, the default of tritonserver.
  bool auto_complete = true;
  LogLevel log_level = LogLevel::kError;
};

class Server {
 public:
  // `api` must outlive the server.
  Server(const Api& api, const ServerSettings& settings);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  Server(Server&&) = delete;
  Server& operator=(Server&&) = delete;
  ~Server();

  [[nodiscard]] const Api& api() const noexcept { return api_; }
  [[nodiscard]] TRITONSERVER_Server* get() const noexcept { return server_; }

  // Returns when the model is ready, and says how long that took.
  std::chrono::nanoseconds Load(const std::string& model);

  // Returns when nothing of the model is left, its processes included.
  void Unload(const std::string& model);

 private:
  [[nodiscard]] bool IsUnloaded() const;
  void Settle() const;

  const Api& api_;
  TRITONSERVER_Server* server_ = nullptr;
};

}  // namespace tpb::bench
