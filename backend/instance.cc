#include "backend/instance.h"

#include <optional>
#include <utility>

#include "backend/gather.h"
#include "backend/respond.h"
#include "backend/triton_error.h"

namespace tpb::backend {
namespace {

std::string Name(TRITONBACKEND_ModelInstance* instance) {
  const char* name = nullptr;
  Check(triton::Api().TRITONBACKEND_ModelInstanceName(instance, &name));
  return name;
}

}  // namespace

Instance::Instance(Model& model, TRITONBACKEND_ModelInstance* instance)
    : model_(model),
      instance_(instance),
      facts_{.name = Name(instance)},
      attachment_(model.Attach(facts_.name)) {
  Initialize();
  attachment_->SetModel(model.name());
  attachment_->memory_watch().ShowTo(model.NewMemoryGauges(facts_.name), facts_.name);
}

void Instance::Initialize() {
  const auto& api = triton::Api();
  TRITONSERVER_InstanceGroupKind kind = TRITONSERVER_INSTANCEGROUPKIND_AUTO;
  Check(api.TRITONBACKEND_ModelInstanceKind(instance_, &kind));
  std::int32_t device_id = 0;
  Check(api.TRITONBACKEND_ModelInstanceDeviceId(instance_, &device_id));
  const std::string device = std::to_string(device_id);
  const std::string config = model_.Config();
  ipc::Load load = model_.LoadMessage(config);
  load.instance_name = facts_.name;
  load.instance_kind = api.TRITONSERVER_InstanceGroupKindString(kind);
  load.instance_device_id = device;
  body_.Clear();
  ipc::Encode(load, body_);
  // A model may take as long as it likes to load; only the end of its process ends the wait.
  const auto answer =
      attachment_->Exchange(ipc::MessageKind::kInitialize, body_.bytes(), ipc::Deadline::Never());
  if (!answer) {
    const std::string failure = attachment_->failure();
    throw failure.empty() ? NotHealthy() : ipc::Error(ipc::Code::kInternal, failure);
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
  attachment_->Settle();
}

void Instance::Execute(std::span<TRITONBACKEND_Request* const> requests) noexcept {
  Batch batch(instance_, requests);
  try {
    Process(batch);
  } catch (const ipc::Error& error) {
    batch.FailRest(error.code(), error.message());
  } catch (const std::exception& error) {
    batch.FailRest(ipc::Code::kInternal, "Failed to process the request(s) for model '" + facts_.name +
                                             "', message: " + error.what());
  }
}

void Instance::Process(Batch& batch) {
  if (attachment_->gone()) {
    throw NotHealthy();
  }
  try {
    Exchange(batch);
  } catch (const ipc::ArenaFull&) {
    if (batch.items().size() == 1) {
      throw;
    }
    ProcessOneByOne(batch);
  }
}

// A batch that does not fit into the arena, whose requests may fit each for itself: nothing was sent yet.
void Instance::ProcessOneByOne(Batch& batch) {
  if (!std::exchange(told_of_large_batches_, true)) {
    Log(TRITONSERVER_LOG_WARN, __FILE__, __LINE__,
        "a batch of " + std::to_string(batch.items().size()) + " requests for model '" + facts_.name +
            "' does not fit into its shared memory: such requests are executed one by one. Raise "
            "--backend-config=python,shm-max-byte-size, or lower the model's max_batch_size");
  }
  for (Batch::Item& item : batch.items()) {
    item.left_out = true;
  }
  for (Batch::Item& item : batch.items()) {
    item.left_out = false;
    try {
      Exchange(batch);
    } catch (const ipc::ArenaFull& error) {
      batch.Fail(item, error.code(), error.message());
    }
    item.left_out = true;
  }
}

void Instance::Exchange(Batch& batch) {
  ExchangeLeases leases(attachment_->leases());
  Responders& responders = attachment_->responders();
  TellResponders();
  const std::uint64_t first_id = responders.Reserve(batch.items().size());
  const Gathered gathered = Gather(batch, attachment_->arena(), leases, facts_, first_id, body_);
  if (gathered.sent.empty()) {
    return;
  }
  if (batch.times().compute_start == 0) {
    batch.times().compute_start = NowNs();
  }
  std::optional<Attachment::Answer> answer;
  {
    Responders::WithStub with_stub(responders, batch, first_id);
    answer = attachment_->Exchange(ipc::MessageKind::kExecute, body_.bytes(), ipc::Deadline::Never());
    if (answer) {
      with_stub.KeepOpen(gathered.sent, answer->reply);
    }
  }
  batch.times().compute_end = NowNs();
  if (!answer) {
    throw NotHealthy();
  }
  batch.CountExecution(gathered.inferences);
  try {
    Answer(batch, gathered.sent, answer->reply);
  } catch (const ipc::ProtocolError& error) {
    attachment_->Condemn(error.message());
    throw NotHealthy();
  } catch (...) {
    // Out of memory, say: the exchange is over all the same, and the stub goes on holding what it keeps.
    attachment_->Settle(leases, answer->reply.kept);
    throw;
  }
  attachment_->Settle(leases, answer->reply.kept);
}

void Instance::Answer(Batch& batch, std::span<const std::size_t> sent, const ipc::Reply& reply) {
  if (reply.failed) {
    const std::string text(reply.text);
    Log(TRITONSERVER_LOG_ERROR, __FILE__, __LINE__,
        "Failed to process the request(s) for model '" + facts_.name + "', message: " + text);
    batch.FailRest(reply.code,
                   "Failed to process the request(s) for model '" + facts_.name + "', message: " + text);
    return;
  }
  if (reply.responses.size() != sent.size()) {
    throw ipc::ProtocolError("the stub process gave " + std::to_string(reply.responses.size()) +
                             " responses to " + std::to_string(sent.size()) + " requests");
  }
  for (std::size_t i = 0; i < sent.size(); ++i) {
    Respond(batch, batch.items()[sent[i]], reply.responses[i], attachment_->payloads(), state_outputs_,
            facts_.name);
  }
}

// Whether the model is decoupled is as core says; before core serves it, while warm-up requests run, as the
// stub does.
void Instance::TellResponders() {
  if (responders_know_) {
    return;
  }
  const std::optional<bool> decoupled = model_.IsDecoupled();
  attachment_->responders().SetFacts(
      {.instance_name = facts_.name, .decoupled = decoupled.value_or(decoupled_), .states = state_outputs_});
  responders_know_ = decoupled.has_value();
}

void Instance::CheckReady() const {
  if (attachment_->gone()) {
    throw NotHealthy();
  }
  if (has_ready_check_) {
    attachment_->AskReady(facts_.name);
  }
}

void Instance::Finalize() noexcept {
  attachment_->Finalize(ipc::Deadline::After(model_.backend().options().unload_timeout));
}

ipc::Error Instance::NotHealthy() const {
  return {ipc::Code::kInternal, "Stub process '" + facts_.name + "' is not healthy."};
}

}  // namespace tpb::backend
