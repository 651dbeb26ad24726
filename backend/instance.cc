#include "backend/instance.h"

#include <algorithm>
#include <chrono>
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

// The stub has died, and the next one may have the batch.
class ForTheNext : public std::exception {};

std::string Seconds(std::chrono::milliseconds time) {
  std::string text = std::to_string(static_cast<double>(time.count()) / 1000);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) {
    text.pop_back();
  }
  return text + " s";
}

ipc::Deadline Limit(std::chrono::milliseconds time) {
  return time.count() == 0 ? ipc::Deadline::Never() : ipc::Deadline::After(time);
}

InstanceIdentity Identify(TRITONBACKEND_ModelInstance* instance) {
  const auto& api = triton::Api();
  TRITONSERVER_InstanceGroupKind kind = TRITONSERVER_INSTANCEGROUPKIND_AUTO;
  Check(api.TRITONBACKEND_ModelInstanceKind(instance, &kind));
  std::int32_t device_id = 0;
  Check(api.TRITONBACKEND_ModelInstanceDeviceId(instance, &device_id));
  // Core has set the instance's host policy on this thread.
  return {.name = Name(instance),
          .kind = api.TRITONSERVER_InstanceGroupKindString(kind),
          .device_id = std::to_string(device_id),
          .placement = Placement::OfThisThread()};
}

HealingPolicy Policy(const Options& options) {
  HealingPolicy policy;
  policy.restart = options.restart;
  policy.max_deaths = static_cast<int>(options.restart_max_deaths);
  policy.hold = options.restart_wait;
  return policy;
}

}  // namespace

Instance::Instance(Model& model, TRITONBACKEND_ModelInstance* instance)
    : model_(model),
      instance_(instance),
      identity_(Identify(instance)),
      metrics_(model.NewInstanceMetrics(identity_.name)),
      healer_(identity_.name, Policy(model.backend().options()), HealerCallbacks()) {
  auto first =
      std::make_shared<StubGeneration>(model_, identity_, metrics_, -1, [this] { healer_.Notice(); });
  first->Initialize();  // a load that fails is never tried again
  healer_.Begin(std::move(first));
  model_.NoteLoaded();
}

Healer::Callbacks Instance::HealerCallbacks() {
  return {
      .spawn = [this](int interrupt) -> std::shared_ptr<Generation> {
        return std::make_shared<StubGeneration>(model_, identity_, metrics_, interrupt,
                                                [this] { healer_.Notice(); });
      },
      .sibling_serves = [this] { return model_.serving() > 0; },
      .wanted = [this] { return !model_.IsLeaving(); },
      .changed =
          [this](bool up) {
            model_.serving() += up ? 1 : -1;
            up ? metrics_->Up() : metrics_->Down();
          },
      .died = [this](const std::string& cause) { metrics_->Died(cause); },
      .tell = [](const std::string& text) { Log(TRITONSERVER_LOG_INFO, __FILE__, __LINE__, text); },
      .complain = [](const std::string& text) { Log(TRITONSERVER_LOG_ERROR, __FILE__, __LINE__, text); },
  };
}

void Instance::Execute(std::span<TRITONBACKEND_Request* const> requests) noexcept {
  Batch batch(instance_, requests);
  try {
    while (!TryExecute(batch)) {
    }
  } catch (const ipc::Error& error) {
    batch.FailRest(error.code(), error.message());
  } catch (const std::exception& error) {
    batch.FailRest(ipc::Code::kInternal, "Failed to process the request(s) for model '" + identity_.name +
                                             "', message: " + error.what());
  }
  if (model_.IsLeaving()) {
    batch.ReleaseThrough(model_.backend().late_releases());
  }
}

// False when the stub has died and the next one can have the batch: there is one, or AwaitStub() throws.
bool Instance::TryExecute(Batch& batch) {
  const auto stub = AwaitStub(batch);
  try {
    Process(batch, *stub);
    return true;
  } catch (const ForTheNext&) {
    for (Batch::Item& item : batch.items()) {
      item.left_out = item.answered || item.open || item.rescheduled;
    }
    return false;
  }
}

std::shared_ptr<StubGeneration> Instance::AwaitStub(const Batch& batch) {
  auto stub = healer_.Current();
  if (!stub) {
    metrics_->Hold(batch.size());
    try {
      stub = healer_.Await();
    } catch (...) {
      metrics_->Hold(0);
      throw;
    }
    metrics_->Hold(0);
  }
  return std::static_pointer_cast<StubGeneration>(stub);
}

void Instance::Process(Batch& batch, StubGeneration& stub) {
  try {
    Exchange(batch, stub);
  } catch (const ipc::ArenaFull&) {
    if (batch.items().size() == 1) {
      throw;
    }
    ProcessOneByOne(batch, stub);
  }
}

// A batch that does not fit into the arena, whose requests may fit each for itself: nothing was sent yet.
void Instance::ProcessOneByOne(Batch& batch, StubGeneration& stub) {
  if (!std::exchange(told_of_large_batches_, true)) {
    Log(TRITONSERVER_LOG_WARN, __FILE__, __LINE__,
        "a batch of " + std::to_string(batch.items().size()) + " requests for model '" + identity_.name +
            "' does not fit into its shared memory: such requests are executed one by one. Raise "
            "--backend-config=python,shm-max-byte-size, or lower the model's max_batch_size");
  }
  for (Batch::Item& item : batch.items()) {
    item.left_out = true;
  }
  for (Batch::Item& item : batch.items()) {
    item.left_out = false;
    try {
      Exchange(batch, stub);
    } catch (const ipc::ArenaFull& error) {
      batch.Fail(item, error.code(), error.message());
    }
    item.left_out = true;
  }
}

void Instance::Exchange(Batch& batch, StubGeneration& stub) {
  Attachment& attachment = stub.attachment();
  ExchangeLeases leases(attachment.leases());
  Responders& responders = attachment.responders();
  stub.TellResponders();
  const std::uint64_t first_id = responders.Reserve(batch.items().size());
  const Gathered gathered = Gather(batch, attachment.arena(), leases, stub.facts(), first_id, body_);
  if (gathered.sent.empty()) {
    return;
  }
  if (batch.times().compute_start == 0) {
    batch.times().compute_start = NowNs();
  }
  const std::uint64_t asked_before = attachment.asked();
  std::optional<Attachment::Answer> answer;
  {
    Responders::WithStub with_stub(responders, batch, first_id);
    answer = attachment.Exchange(ipc::MessageKind::kExecute, body_.bytes(), Limit(stub.execute_timeout()));
    if (answer) {
      with_stub.KeepOpen(gathered.sent, answer->reply);
    }
  }
  batch.times().compute_end = NowNs();
  if (!answer) {
    NoAnswer(batch, stub, asked_before);
  }
  batch.CountExecution(gathered.inferences);
  try {
    Answer(batch, gathered.sent, answer->reply, stub);
  } catch (const ipc::ProtocolError& error) {
    attachment.Condemn(error.message());
    throw NotHealthy(identity_.name, stub.Epitaph());
  } catch (...) {
    // Out of memory, say: the exchange is over all the same, and the stub goes on holding what it keeps.
    attachment.Settle(leases, answer->reply.kept);
    throw;
  }
  attachment.Settle(leases, answer->reply.kept);
}

// What the stub has not read it has not executed either. What it has may have had effects that nobody here
// sees; but for that, it may be executed once more if nothing of it went out.
void Instance::NoAnswer(Batch& batch, StubGeneration& stub, std::uint64_t asked_before) {
  Attachment& attachment = stub.attachment();
  if (!attachment.gone()) {
    attachment.EndStuck("execute() took longer than " + Seconds(stub.execute_timeout()) +
                        " (EXECUTE_TIMEOUT_SECONDS)");
  }
  if (!attachment.HasReadLast()) {
    throw ForTheNext();
  }
  const bool silent = std::ranges::none_of(
      batch.items(), [](const Batch::Item& item) { return item.answered || item.open || item.responder; });
  if (stub.may_replay() && !batch.replayed() && !attachment.condemned() && silent &&
      attachment.asked() == asked_before) {
    batch.SetReplayed();
    Log(TRITONSERVER_LOG_WARN, __FILE__, __LINE__,
        "the stub process of '" + identity_.name + "' has died over a batch of " +
            std::to_string(batch.size()) +
            " requests, which the next one executes once more (REPLAY_AFTER_CRASH)");
    throw ForTheNext();
  }
  throw NotHealthy(identity_.name, stub.Epitaph());
}

void Instance::Answer(Batch& batch, std::span<const std::size_t> sent, const ipc::Reply& reply,
                      StubGeneration& stub) {
  if (reply.failed) {
    const std::string text(reply.text);
    Log(TRITONSERVER_LOG_ERROR, __FILE__, __LINE__,
        "Failed to process the request(s) for model '" + identity_.name + "', message: " + text);
    batch.FailRest(reply.code,
                   "Failed to process the request(s) for model '" + identity_.name + "', message: " + text);
    return;
  }
  if (reply.responses.size() != sent.size()) {
    throw ipc::ProtocolError("the stub process gave " + std::to_string(reply.responses.size()) +
                             " responses to " + std::to_string(sent.size()) + " requests");
  }
  for (std::size_t i = 0; i < sent.size(); ++i) {
    Respond(batch, batch.items()[sent[i]], reply.responses[i], stub.attachment().payloads(),
            stub.state_outputs(), identity_.name);
  }
}

void Instance::CheckReady() const {
  const auto stub = std::static_pointer_cast<StubGeneration>(healer_.Current());
  if (!stub) {
    throw healer_.WhyNone();
  }
  if (stub->has_ready_check()) {
    stub->attachment().AskReady(identity_.name);
  }
}

void Instance::Finalize() noexcept {
  if (const auto stub = std::static_pointer_cast<StubGeneration>(healer_.Stop())) {
    stub->attachment().Finalize(ipc::Deadline::After(model_.backend().options().unload_timeout));
  }
}

}  // namespace tpb::backend
