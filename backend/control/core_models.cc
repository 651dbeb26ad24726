#include "backend/control/core_models.h"

#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "backend/triton_error.h"
#include "ipc/error.h"

namespace tpb::backend::control {
namespace {

struct DeleteParameter {
  void operator()(TRITONSERVER_Parameter* parameter) const noexcept {
    triton::Api().TRITONSERVER_ParameterDelete(parameter);
  }
};
using OwnedParameter = std::unique_ptr<TRITONSERVER_Parameter, DeleteParameter>;

void Load(TRITONSERVER_Server* server, const ipc::Ask& ask) {
  const auto& api = triton::Api();
  std::vector<OwnedParameter> owned;
  if (!ask.text.empty()) {
    owned.emplace_back(api.TRITONSERVER_ParameterNew("config", TRITONSERVER_PARAMETER_STRING,
                                                     std::string(ask.text).c_str()));
  }
  for (const auto& [path, content] : ask.pairs) {
    // Core looks at the content where it is, until the call returns.
    owned.emplace_back(
        api.TRITONSERVER_ParameterBytesNew(std::string(path).c_str(), content.data(), content.size()));
  }
  std::vector<const TRITONSERVER_Parameter*> parameters;
  parameters.reserve(owned.size());
  for (const auto& parameter : owned) {
    parameters.push_back(parameter.get());
  }
  Check(api.TRITONSERVER_ServerLoadModelWithParameters(server, std::string(ask.name).c_str(),
                                                       parameters.data(), parameters.size()));
}

void Unload(TRITONSERVER_Server* server, const ipc::Ask& ask) {
  const auto& api = triton::Api();
  const std::string name(ask.name);
  Check(ask.option != 0 ? api.TRITONSERVER_ServerUnloadModelAndDependents(server, name.c_str())
                        : api.TRITONSERVER_ServerUnloadModel(server, name.c_str()));
}

// The texts are those that models know.
std::int64_t Version(std::string_view given) {
  if (given.empty()) {
    return -1;
  }
  const std::string text(given);
  const std::string complaint = "failed to get model version from specified version string '" + text + "'";
  std::int64_t version = 0;
  try {
    version = std::stol(text);
  } catch (const std::exception&) {
    // The details are what GCC's C++ library says, whichever we are linked with.
    throw ipc::Error(ipc::Code::kInvalidArg,
                     complaint + " (details: stol), version should be an integral value > 0");
  }
  if (version < 0) {
    throw ipc::Error(ipc::Code::kInvalidArg, complaint + ", version should be an integral value > 0");
  }
  return version;
}

bool IsReady(TRITONSERVER_Server* server, const ipc::Ask& ask) {
  bool ready = false;
  Check(triton::Api().TRITONSERVER_ServerModelIsReady(server, std::string(ask.name).c_str(),
                                                      Version(ask.text), &ready));
  return ready;
}

}  // namespace

std::uint64_t AskCore(TRITONSERVER_Server* server, const ipc::Ask& ask) {
  switch (ask.kind) {
    case ipc::AskKind::kLoadModel:
      Load(server, ask);
      return 0;
    case ipc::AskKind::kUnloadModel:
      Unload(server, ask);
      return 0;
    case ipc::AskKind::kIsModelReady:
      return IsReady(server, ask) ? 1 : 0;
    default:
      throw ipc::Error(ipc::Code::kInternal, "no question about a model");
  }
}

}  // namespace tpb::backend::control
