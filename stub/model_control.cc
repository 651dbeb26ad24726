#include "stub/model_control.h"

#include <cstdint>

#include "ipc/error.h"
#include "stub/ask.h"

namespace tpb::stub {
namespace {

using ipc::Code;
using ipc::Error;

std::uint64_t AskAboutModel(const char* function, const char* failed, ipc::Ask ask) {
  const auto connection = ServerFor(function);
  if (!connection->control_allowed()) {
    throw Error(Code::kUnsupported,
                std::string(failed) + ": " + function +
                    " works from 'initialize' on until 'finalize' begins, and not in 'auto_complete_config'");
  }
  try {
    return Ask(*connection, std::move(ask));
  } catch (const Error& error) {
    throw Error(error.code(), std::string(failed) + ": " + FromServer(*connection, error.message()));
  }
}

}  // namespace

void LoadModel(const std::string& name, const std::string& config, const Files& files) {
  ipc::Ask ask;
  ask.kind = ipc::AskKind::kLoadModel;
  ask.name = name;
  ask.text = config;
  ask.pairs = files;
  AskAboutModel("load_model", "Failed to load model", std::move(ask));
}

void UnloadModel(const std::string& name, bool unload_dependents) {
  ipc::Ask ask;
  ask.kind = ipc::AskKind::kUnloadModel;
  ask.name = name;
  ask.option = unload_dependents ? 1 : 0;
  AskAboutModel("unload_model", "Failed to unload model", std::move(ask));
}

bool IsModelReady(const std::string& name, const std::string& version) {
  ipc::Ask ask;
  ask.kind = ipc::AskKind::kIsModelReady;
  ask.name = name;
  ask.text = version;
  return AskAboutModel("is_model_ready", "Failed to check model readiness", std::move(ask)) != 0;
}

}  // namespace tpb::stub
