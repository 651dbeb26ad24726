#include "benchmarks/generator/server.h"

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string_view>
#include <thread>

#include "benchmarks/generator/processes.h"

namespace tpb::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Far more than any step takes; a server that hangs is an error and not a hang of the generator.
constexpr std::chrono::seconds kPatience{120};
constexpr unsigned kExitSeconds = 30;

void WaitFor(const char* what, const auto& condition) {
  const auto deadline = Clock::now() + kPatience;
  while (!condition()) {
    if (Clock::now() > deadline) {
      throw std::runtime_error(std::string("waited ") + std::to_string(kPatience.count()) + " s for " + what);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void SetOptions(const Api& api, TRITONSERVER_ServerOptions* options, const ServerSettings& settings) {
  api.Check(api.TRITONSERVER_ServerOptionsSetModelRepositoryPath(options, settings.repository.c_str()));
  api.Check(api.TRITONSERVER_ServerOptionsSetBackendDirectory(options, settings.backend_directory.c_str()));
  api.Check(api.TRITONSERVER_ServerOptionsSetModelControlMode(options, TRITONSERVER_MODEL_CONTROL_EXPLICIT));
  api.Check(api.TRITONSERVER_ServerOptionsSetStrictModelConfig(options, !settings.auto_complete));
  api.Check(api.TRITONSERVER_ServerOptionsSetExitTimeout(options, kExitSeconds));
  api.Check(api.TRITONSERVER_ServerOptionsSetMetrics(options, false));
  api.Check(api.TRITONSERVER_ServerOptionsSetLogInfo(options, settings.log_level != LogLevel::kError));
  api.Check(api.TRITONSERVER_ServerOptionsSetLogWarn(options, true));
  api.Check(api.TRITONSERVER_ServerOptionsSetLogError(options, true));
  api.Check(
      api.TRITONSERVER_ServerOptionsSetLogVerbose(options, settings.log_level == LogLevel::kVerbose ? 1 : 0));
  for (const auto& [backend, key, value] : settings.backend_settings) {
    api.Check(
        api.TRITONSERVER_ServerOptionsSetBackendConfig(options, backend.c_str(), key.c_str(), value.c_str()));
  }
}

void LogFailure(const Api& api, TRITONSERVER_Error* error, const char* what) {
  if (error != nullptr) {
    std::fprintf(stderr, "generator: %s: %s\n", what, api.TRITONSERVER_ErrorMessage(error));
    api.TRITONSERVER_ErrorDelete(error);
  }
}

}  // namespace

Server::Server(const Api& api, const ServerSettings& settings) : api_(api) {
  TRITONSERVER_ServerOptions* made = nullptr;
  api.Check(api.TRITONSERVER_ServerOptionsNew(&made));
  const std::unique_ptr<TRITONSERVER_ServerOptions, decltype(api.TRITONSERVER_ServerOptionsDelete)> options(
      made, api.TRITONSERVER_ServerOptionsDelete);
  SetOptions(api, options.get(), settings);
  api.Check(api.TRITONSERVER_ServerNew(&server_, options.get()));
}

Server::~Server() {
  try {
    Settle();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "generator: stopping the server all the same: %s\n", error.what());
  }
  LogFailure(api_, api_.TRITONSERVER_ServerStop(server_), "the server did not stop in order");
  LogFailure(api_, api_.TRITONSERVER_ServerDelete(server_), "the server could not be deleted");
}

std::chrono::nanoseconds Server::Load(const std::string& model) {
  const auto start = Clock::now();
  api_.Check(api_.TRITONSERVER_ServerLoadModel(server_, model.c_str()));
  const auto end = Clock::now();
  bool ready = false;
  api_.Check(api_.TRITONSERVER_ServerModelIsReady(server_, model.c_str(), -1, &ready));
  if (!ready) {
    throw std::runtime_error("model '" + model + "' is not ready although it was loaded without an error");
  }
  return end - start;
}

void Server::Unload(const std::string& model) {
  Settle();
  api_.Check(api_.TRITONSERVER_ServerUnloadModel(server_, model.c_str()));
  WaitFor("the model to be unloaded", [this] { return IsUnloaded(); });
  WaitFor("the processes of the model to end", [] { return Descendants().empty(); });
}

// Explicit control with one model at a time: the index has one entry, with its state in words.
bool Server::IsUnloaded() const {
  TRITONSERVER_Message* made = nullptr;
  api_.Check(api_.TRITONSERVER_ServerModelIndex(server_, 0, &made));
  const std::unique_ptr<TRITONSERVER_Message, decltype(api_.TRITONSERVER_MessageDelete)> index(
      made, api_.TRITONSERVER_MessageDelete);
  const char* text = nullptr;
  std::size_t size = 0;
  api_.Check(api_.TRITONSERVER_MessageSerializeToJson(index.get(), &text, &size));
  return std::string_view(text, size).find(R"("reason":"unloaded")") != std::string_view::npos;
}

// Triton 2.51 crashes when a model is unloaded while the thread that has initialized its instance is between
// saying so and waiting for work.
void Server::Settle() const {
  WaitFor("the server's threads to sleep", [] { return OtherThreadsSleep(); });
}

}  // namespace tpb::bench
