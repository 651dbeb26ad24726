#include "backend/stub_generation.h"

#include <utility>

#include "backend/triton_error.h"

namespace tpb::backend {

StubGeneration::StubGeneration(Model& model, const InstanceIdentity& identity,
                               std::shared_ptr<InstanceMetrics> metrics, int interrupt,
                               std::function<void()> on_gone)
    : model_(model),
      identity_(identity),
      facts_{.name = identity.name},
      attachment_(model.Attach(identity.name, identity.placement, interrupt)),
      metrics_(std::move(metrics)) {
  attachment_->OnGone(std::move(on_gone));
}

void StubGeneration::Initialize() {
  const std::string config = model_.Config();
  ipc::Load load = model_.LoadMessage(config);
  load.instance_name = identity_.name;
  load.instance_kind = identity_.kind;
  load.instance_device_id = identity_.device_id;
  ipc::Writer body;
  ipc::Encode(load, body);
  // A model may take as long as it likes to load; only the end of its process ends the wait.
  const auto answer =
      attachment_->Exchange(ipc::MessageKind::kInitialize, body.bytes(), ipc::Deadline::Never());
  if (!answer) {
    const std::string failure = attachment_->failure();
    throw failure.empty() ? NotHealthy(identity_.name, Epitaph()) : ipc::Error(ipc::Code::kInternal, failure);
  }
  if (answer->reply.failed) {
    const std::string text(answer->reply.text);
    Log(TRITONSERVER_LOG_INFO, __FILE__, __LINE__, "Failed to initialize Python stub: " + text);
    throw ipc::Error(answer->reply.code, text);
  }
  facts_.has_batch_dimension = answer->reply.max_batch_size > 0;
  decoupled_ = (answer->reply.flags & ipc::kReplyDecoupled) != 0;
  state_outputs_ = StateOutputs(answer->reply.state_outputs);
  has_ready_check_ = (answer->reply.flags & ipc::kReplyHasReadyCheck) != 0;
  execute_timeout_ = std::chrono::milliseconds(answer->reply.execute_timeout_ms);
  may_replay_ = (answer->reply.flags & ipc::kReplyMayReplay) != 0;
  attachment_->Settle();
  attachment_->SetModel(model_.name());
  attachment_->memory_watch().ShowTo(model_.NewChannelMetrics(metrics_->labels()), metrics_);
}

// Whether the model is decoupled is as core says; before core serves it, while warm-up requests run, as the
// stub does.
void StubGeneration::TellResponders() {
  if (responders_know_) {
    return;
  }
  const std::optional<bool> decoupled = model_.IsDecoupled();
  attachment_->responders().SetFacts(
      {.instance_name = facts_.name, .decoupled = decoupled.value_or(decoupled_), .states = state_outputs_});
  responders_know_ = decoupled.has_value();
}

ipc::Error NotHealthy(const std::string& instance, const std::string& epitaph) {
  return {ipc::Code::kInternal, "Stub process '" + instance + "' is not healthy. " + epitaph};
}

}  // namespace tpb::backend
