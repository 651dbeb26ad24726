#include "backend/responders.h"

#include <algorithm>
#include <utility>

#include "backend/triton_error.h"
#include "ipc/cancellation.h"
#include "ipc/error.h"

namespace tpb::backend {
namespace {

constexpr char kNobodyAnswers[] =
    "the model dropped this request and its response sender without a complete-final flag.";

}  // namespace

void Responders::SetFacts(ResponderFacts facts) {
  const std::scoped_lock lock(mutex_);
  facts_ = std::make_shared<const ResponderFacts>(std::move(facts));
}

std::uint64_t Responders::Reserve(std::size_t items) noexcept {
  const std::uint64_t first = next_;
  next_ += items;
  return first;
}

Responders::WithStub::WithStub(Responders& responders, Batch& batch, std::uint64_t first_id) noexcept
    : responders_(responders) {
  const std::scoped_lock lock(responders_.mutex_);
  responders_.batch_ = &batch;
  responders_.first_ = first_id;
}

Responders::WithStub::~WithStub() {
  const std::scoped_lock lock(responders_.mutex_);
  responders_.TakeBack();
}

void Responders::WithStub::KeepOpen(std::span<const std::size_t> sent, const ipc::Reply& reply) noexcept {
  const std::scoped_lock lock(responders_.mutex_);
  responders_.KeepOpenLocked(sent, reply);
}

// From here on only what was kept open gets responses.
void Responders::TakeBack() noexcept {
  for (std::size_t i = 0; i < batch_->items().size(); ++i) {
    if (const Batch::Item& item = batch_->items()[i]; item.responder && !item.open) {
      open_.erase(first_ + i);
    }
  }
  batch_ = nullptr;
}

void Responders::KeepOpenLocked(std::span<const std::size_t> sent, const ipc::Reply& reply) noexcept {
  if (reply.failed || failed_) {
    return;
  }
  for (std::size_t i = 0; i < sent.size() && i < reply.responses.size(); ++i) {
    Batch::Item& item = batch_->items()[sent[i]];
    if (reply.responses[i].kind != ipc::ResponseKind::kOpen || item.answered) {
      continue;
    }
    try {
      if (!item.responder) {
        item.responder = std::make_shared<Responder>(item.request, facts_);
      }
      if (!item.responder->closed()) {
        item.responder->Detach();
        open_.emplace(first_ + sent[i], item.responder);
        item.open = true;
      }
    } catch (const std::exception& error) {
      LogFailure(NewTritonError(ipc::Code::kInternal, error.what()),
                 "Unable to keep a request of '" + facts_->instance_name + "' open for its response sender");
    }
  }
}

bool Responders::Send(std::uint64_t id, const ipc::Response& response, const Payloads& payloads, bool final) {
  const auto responder = Find(id);
  if (!responder) {
    return false;
  }
  const bool sent = responder->Send(response, payloads, final);
  if (final) {
    Forget(id);
  }
  return sent;
}

bool Responders::SendFinal(std::uint64_t id) {
  const auto responder = Find(id);
  const bool sent = responder && responder->SendFinal();
  Forget(id);
  return sent;
}

bool Responders::Abandon(std::uint64_t id) {
  const auto responder = Find(id);
  const bool failed =
      responder && responder->Fail(ipc::Code::kInternal, "Failed to process the request(s) for model '" +
                                                             responder->facts().instance_name +
                                                             "', message: " + kNobodyAnswers);
  Forget(id);
  return failed;
}

void Responders::Watch(std::uint64_t id, std::uint64_t word) {
  if (word >= cancellations_.size()) {
    throw ipc::ProtocolError("the stub process watches cancellation word " + std::to_string(word));
  }
  // A word that is used again: the request that it stood for has ended in the stub.
  std::erase_if(watched_, [word](const auto& entry) { return entry.second.word == word; });
  auto responder = Find(id);
  const bool cancelled = responder && (cancelled_ || responder->IsCancelled());
  ipc::TellCancellation(cancellations_[word], id, cancelled);
  if (responder && !cancelled) {
    watched_.insert_or_assign(id, Watched{.responder = std::move(responder), .word = word});
  }
}

bool Responders::BatchIsCancelled() noexcept {
  const std::scoped_lock lock(mutex_);
  return batch_ != nullptr && std::ranges::all_of(batch_->items(), [](const Batch::Item& item) {
           bool cancelled = item.answered;
           if (!cancelled) {
             LogFailure(triton::Api().TRITONBACKEND_RequestIsCancelled(item.request, &cancelled),
                        "Unable to ask whether a request was cancelled");
           }
           return cancelled;
         });
}

void Responders::LookForCancelled() noexcept {
  std::erase_if(watched_, [this](const auto& entry) {
    const auto& [id, watched] = entry;
    if (watched.responder->closed()) {
      return true;
    }
    if (!cancelled_ && !watched.responder->IsCancelled()) {
      return false;
    }
    ipc::TellCancellation(cancellations_[watched.word], id, true);
    return true;
  });
}

std::size_t Responders::InFlight() const noexcept {
  const std::scoped_lock lock(mutex_);
  std::size_t waiting = open_.size();
  if (batch_ != nullptr) {
    waiting += static_cast<std::size_t>(std::ranges::count_if(
        batch_->items(), [](const Batch::Item& item) { return !item.responder && !item.answered; }));
  }
  return waiting;
}

void Responders::CancelAll() noexcept { cancelled_ = true; }

void Responders::FailAll(const std::string& how) noexcept {
  std::map<std::uint64_t, std::shared_ptr<Responder>> open;
  {
    const std::scoped_lock lock(mutex_);
    failed_ = true;
    open.swap(open_);
  }
  for (const auto& [id, responder] : open) {
    responder->Fail(ipc::Code::kInternal, "Stub process '" + responder->facts().instance_name +
                                              "' is not healthy." + (how.empty() ? "" : " " + how));
  }
}

TRITONSERVER_InferenceTrace* Responders::SpawnTrace(std::uint64_t id) noexcept {
  const std::scoped_lock lock(mutex_);
  const Batch::Item* const item = ItemOf(id);
  if (item == nullptr) {
    return nullptr;
  }
  const auto& api = triton::Api();
  TRITONSERVER_InferenceTrace* trace = nullptr;
  TRITONSERVER_InferenceTrace* child = nullptr;
  TRITONSERVER_Error* error = api.TRITONBACKEND_RequestTrace(item->request, &trace);
  if (error == nullptr && trace != nullptr) {
    error = api.TRITONSERVER_InferenceTraceSpawnChildTrace(trace, &child);
  }
  if (error != nullptr) {
    api.TRITONSERVER_ErrorDelete(error);  // a core without tracing
    return nullptr;
  }
  return child;
}

Batch::Item* Responders::ItemOf(std::uint64_t id) noexcept {
  if (batch_ == nullptr || id < first_ || id - first_ >= batch_->items().size()) {
    return nullptr;
  }
  Batch::Item& item = batch_->items()[id - first_];
  return item.answered || item.left_out ? nullptr : &item;
}

std::shared_ptr<Responder> Responders::Find(std::uint64_t id) {
  const std::scoped_lock lock(mutex_);
  if (const auto found = open_.find(id); found != open_.end()) {
    return found->second;
  }
  Batch::Item* const item = ItemOf(id);
  if (item == nullptr) {
    return nullptr;
  }
  if (!item->responder) {
    item->responder = std::make_shared<Responder>(item->request, facts_);
    open_.emplace(id, item->responder);
  }
  return item->responder;
}

void Responders::Forget(std::uint64_t id) noexcept {
  const std::scoped_lock lock(mutex_);
  open_.erase(id);
}

}  // namespace tpb::backend
