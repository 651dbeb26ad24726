#include "backend/model.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "backend/printable.h"
#include "backend/triton_error.h"
#include "ipc/codec.h"

namespace tpb::backend {
namespace {

std::string Name(TRITONBACKEND_Model* model) {
  const char* name = nullptr;
  Check(triton::Api().TRITONBACKEND_ModelName(model, &name));
  return name;
}

std::string Version(TRITONBACKEND_Model* model) {
  std::uint64_t version = 0;
  Check(triton::Api().TRITONBACKEND_ModelVersion(model, &version));
  return std::to_string(version);
}

std::string Repository(TRITONBACKEND_Model* model) {
  TRITONBACKEND_ArtifactType type = TRITONBACKEND_ARTIFACT_FILESYSTEM;
  const char* path = nullptr;
  Check(triton::Api().TRITONBACKEND_ModelRepository(model, &type, &path));
  return path;
}

std::string File(const Backend& backend, const std::string& repository, const std::string& version) {
  const std::string& shared = backend.directories().model_file;
  return shared.empty() ? repository + "/" + version + "/model.py" : shared;
}

TRITONSERVER_Server* Server(TRITONBACKEND_Model* model) {
  TRITONSERVER_Server* server = nullptr;
  Check(triton::Api().TRITONBACKEND_ModelServer(model, &server));
  return server;
}

std::string AsJson(TRITONSERVER_Message* message) {
  const char* json = nullptr;
  std::size_t size = 0;
  Check(triton::Api().TRITONSERVER_MessageSerializeToJson(message, &json, &size));
  return {json, size};
}

std::uint32_t EventSlots(const Options& options) {
  return std::bit_ceil(
      static_cast<std::uint32_t>(std::clamp<std::int64_t>(options.shm_message_queue_size, 64, 65536)));
}

ipc::MemoryRules Rules(const Options& options) {
  return {.pool_bytes = static_cast<std::uint64_t>(options.shm_default_byte_size),
          .growth_bytes = static_cast<std::uint64_t>(options.shm_growth_byte_size),
          .release_after_seconds = static_cast<std::uint32_t>(options.shm_release_after.count()),
          .keep_heap = options.stub_keeps_heap ? 1U : 0U};
}

bool WantsAutoComplete(TRITONBACKEND_Model* model) {
  bool wanted = false;
  Check(triton::Api().TRITONBACKEND_ModelAutoCompleteConfig(model, &wanted));
  return wanted;
}

}  // namespace

Model::Model(Backend& backend, TRITONBACKEND_Model* model)
    : backend_(backend),
      model_(model),
      server_(Server(model)),
      name_(Name(model)),
      version_(Version(model)),
      repository_(Repository(model)),
      file_(File(backend, repository_, version_)),
      place_(repository_ + "/" + version_),
      serial_(backend.NextSerial()),
      interpreter_(WantsLauncher(Config()) ? backend.launcher_interpreter() : backend.interpreter()) {
  if (!WantsLauncher(Config())) {
    Log(TRITONSERVER_LOG_INFO, __FILE__, __LINE__,
        "model '" + name_ + "' runs in " + interpreter_.path + " (" + interpreter_.reason + ")");
  }
  if (WantsAutoComplete(model)) {
    AutoComplete();
  }
}

Model::~Model() { backend_.Forget(place_, serial_); }

std::unique_ptr<Attachment> Model::Attach(const std::string& label, const Placement& placement,
                                          int interrupt) {
  const LaunchPlan plan = Plan(Config(), placement);
  Prestarted prestarted;
  {
    const std::scoped_lock lock(prestarted_mutex_);
    prestarted = std::move(prestarted_);
  }
  if (prestarted.attachment && prestarted.placement == plan.placement && !prestarted.attachment->gone()) {
    prestarted.attachment->SetLabel(label);
    return std::move(prestarted.attachment);
  }
  return Spawn(plan, label, interrupt);
}

// A configuration that merely mentions the parameter costs a launch: it is JSON, and the launcher reads that.
bool Model::WantsLauncher(const std::string& config) const {
  std::error_code ignored;
  return config.find("EXECUTION_ENV_PATH") != std::string::npos ||
         std::filesystem::exists(repository_ + "/triton_python_backend_stub", ignored);
}

LaunchPlan Model::Plan(std::string config, const Placement& placement) const {
  if (WantsLauncher(config)) {
    return backend_.PlanWithLauncher(interpreter_, name_, repository_, std::move(config), placement);
  }
  return backend_.Plan(interpreter_, name_, placement);
}

std::unique_ptr<Attachment> Model::Spawn(const LaunchPlan& plan, const std::string& label, int interrupt) {
  const Options& options = backend_.options();
  return Attachment::Spawn(
      backend_.spawner(), plan,
      {.region_name = options.shm_region_prefix_name + name_,
       .max_bytes = options.shm_max_byte_size,
       .event_slots = EventSlots(options),
       .memory_rules = Rules(options),
       .memory_budget = backend_.memory_budget(),
       .hello_timeout = options.stub_timeout,
       .package_version = TPB_VERSION,
       .label = label,
       .complain =
           [](const std::string& complaint) { Log(TRITONSERVER_LOG_ERROR, __FILE__, __LINE__, complaint); },
       .report =
           [name = name_](const ipc::Step& step) {
             Log(step.warning ? TRITONSERVER_LOG_WARN : TRITONSERVER_LOG_INFO, __FILE__, __LINE__,
                 "model '" + name + "' " + Printable(step.text, Newlines::kEscape));
           },
       .gateway = std::make_shared<bls::Gateway>(server_, backend_.waits()),
       .model_control = &backend_.model_control(),
       .interrupt = interrupt,
       .leaving = [this] { return IsLeaving(); },
       .leaving_timeout = options.unload_timeout});
}

std::shared_ptr<InstanceMetrics> Model::NewInstanceMetrics(const std::string& instance) const {
  return std::make_shared<InstanceMetrics>(
      backend_.metrics().instance, InstanceLabels{.model = name_, .version = version_, .instance = instance});
}

std::unique_ptr<ChannelMetrics> Model::NewChannelMetrics(const InstanceLabels& labels) const {
  return std::make_unique<ChannelMetrics>(backend_.metrics().channel, labels);
}

ipc::Load Model::LoadMessage(const std::string& config) const {
  ipc::Load load;
  load.model_name = name_;
  load.model_version = version_;
  load.model_repository = repository_;
  load.model_file = file_;
  load.backend_dir = backend_.directories().package_parent;
  load.config_json = config;
  return load;
}

std::optional<bool> Model::IsDecoupled() const noexcept {
  std::uint32_t flags = 0;
  if (AskTransactions(&flags)) {
    return std::nullopt;
  }
  was_served_ = true;
  return (flags & TRITONSERVER_TXN_DECOUPLED) != 0;
}

// What is wrong, but for a model that is not served any more, is no reason to end it: with namespaces, say,
// the name alone may not be enough.
bool Model::IsLeaving() const noexcept {
  if (backend_.IsOutdated(place_, serial_)) {
    return true;
  }
  std::uint32_t flags = 0;
  const auto refused = AskTransactions(&flags);
  if (!refused) {
    was_served_ = true;
    return false;
  }
  return was_served_ &&
         (refused == TRITONSERVER_ERROR_UNAVAILABLE || refused == TRITONSERVER_ERROR_NOT_FOUND);
}

// The code of the error, or nothing if there was none.
std::optional<TRITONSERVER_Error_Code> Model::AskTransactions(std::uint32_t* flags) const noexcept {
  const auto& api = triton::Api();
  TRITONSERVER_Error* error = api.TRITONSERVER_ServerModelTransactionProperties(
      server_, name_.c_str(), std::strtoll(version_.c_str(), nullptr, 10), flags, nullptr);
  if (error == nullptr) {
    return std::nullopt;
  }
  const TRITONSERVER_Error_Code code = api.TRITONSERVER_ErrorCode(error);
  api.TRITONSERVER_ErrorDelete(error);
  return code;
}

std::string Model::Config() const {
  TRITONSERVER_Message* message = nullptr;
  Check(triton::Api().TRITONBACKEND_ModelConfig(model_, 1, &message));
  const std::unique_ptr<TRITONSERVER_Message, void (*)(TRITONSERVER_Message*)> owned(
      message, [](TRITONSERVER_Message* gone) {
        LogFailure(triton::Api().TRITONSERVER_MessageDelete(gone), "config");
      });
  return AsJson(message);
}

// Runs the model's auto_complete_config in a stub of its own, which then waits for the first instance.
void Model::AutoComplete() {
  const std::string config = Config();
  const LaunchPlan plan = Plan(config, Placement::OfThisThread());
  auto attachment = Spawn(plan, name_, -1);
  ipc::Writer body;
  ipc::Encode(LoadMessage(config), body);
  const auto answer =
      attachment->Exchange(ipc::MessageKind::kAutoComplete, body.bytes(), ipc::Deadline::Never());
  if (!answer) {
    const std::string failure = attachment->failure();
    throw ipc::Error(ipc::Code::kInternal, failure.empty() ? "Stub process '' is not healthy." : failure);
  }
  if (answer->reply.failed) {
    const std::string text(answer->reply.text);
    Log(TRITONSERVER_LOG_INFO, __FILE__, __LINE__,
        "Failed to initialize Python stub for auto-complete: " + text);
    throw ipc::Error(answer->reply.code, text);
  }
  if (answer->reply.text != config) {
    const auto& api = triton::Api();
    TRITONSERVER_Message* message = nullptr;
    Check(api.TRITONSERVER_MessageNewFromSerializedJson(&message, answer->reply.text.data(),
                                                        answer->reply.text.size()));
    TRITONSERVER_Error* error = api.TRITONBACKEND_ModelSetConfig(model_, 1, message);
    LogFailure(api.TRITONSERVER_MessageDelete(message), "Unable to delete a model configuration");
    Check(error);
  }
  attachment->Settle();
  prestarted_ = {.attachment = std::move(attachment), .placement = plan.placement};
}

}  // namespace tpb::backend
