#include "backend/control/asks.h"

#include <bit>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "backend/control/core_models.h"
#include "backend/conversation.h"
#include "ipc/call_slots.h"
#include "ipc/codec.h"
#include "ipc/error.h"

namespace tpb::backend::control {
namespace {

// Loads, unloads and the like that one channel has under way.
constexpr int kMostInProgress = 64;

void Post(Conversation& conversation, std::uint32_t slot, std::uint64_t id,
          const ipc::AskAnswer& answer) noexcept {
  ipc::Posted posted;
  ipc::Writer body;
  try {
    ipc::Encode(answer, body);
    ipc::Block block = conversation.arena().Allocate(body.bytes().size());
    std::memcpy(block.data(), body.bytes().data(), body.bytes().size());
    const ipc::LeaseRecord lease = conversation.leases().Add(std::move(block));
    posted = {.lease = lease.lease, .offset = lease.offset, .size = body.bytes().size()};
  } catch (const std::exception&) {
    posted = {.no_room = true, .wanted = body.bytes().size()};
  }
  ipc::PostAnswer(conversation.channel().calls()[slot], id, posted);
}

ipc::AskAnswer Refusal(ipc::Code code, std::string_view text) {
  ipc::AskAnswer answer;
  answer.failed = true;
  answer.code = code;
  answer.text = text;
  return answer;
}

// Answers with what `work` returns, or with what goes wrong; only what breaks the protocol gets out.
template <typename Work>
void AnswerWith(Conversation& conversation, std::uint32_t slot, std::uint64_t id, const Work& work) {
  try {
    ipc::AskAnswer answer;
    answer.bits = work();
    Post(conversation, slot, id, answer);
  } catch (const ipc::ProtocolError&) {
    throw;
  } catch (const ipc::Error& error) {
    Post(conversation, slot, id, Refusal(error.code(), error.message()));
  } catch (const std::exception& error) {
    Post(conversation, slot, id, Refusal(ipc::Code::kInternal, error.what()));
  }
}

}  // namespace

void Asks::Take(const std::shared_ptr<Conversation>& conversation, std::uint64_t id,
                std::vector<std::byte> body) {
  const ipc::Ask ask = ipc::DecodeAsk(body);
  const std::uint32_t slot = ask.slot;
  if (slot >= conversation->channel().calls().size()) {
    throw ipc::ProtocolError("a question that waits in slot " + std::to_string(slot));
  }
  switch (ask.kind) {
    case ipc::AskKind::kNewFamily:
    case ipc::AskKind::kNewMetric:
    case ipc::AskKind::kMetricValue:
      AnswerWith(*conversation, slot, id, [&] { return AnswerNow(ask); });
      return;
    case ipc::AskKind::kLoadModel:
    case ipc::AskKind::kUnloadModel:
    case ipc::AskKind::kIsModelReady:
      AnswerLater(conversation, id, std::move(body), slot);
      return;
  }
}

std::uint64_t Asks::AnswerNow(const ipc::Ask& ask) {
  if (ask.kind == ipc::AskKind::kNewFamily) {
    return metrics_.NewFamily(ask);
  }
  if (ask.kind == ipc::AskKind::kNewMetric) {
    return metrics_.NewMetric(ask);
  }
  return std::bit_cast<std::uint64_t>(metrics_.Value(ask.handle));
}

bool Asks::Update(const ipc::Slot& slot) {
  return metrics_.Update(slot.id, static_cast<ipc::MetricUpdate>(slot.unused[0]),
                         std::bit_cast<double>(slot.unused[1]));
}

void Asks::AnswerLater(const std::shared_ptr<Conversation>& conversation, std::uint64_t id,
                       std::vector<std::byte> body, std::uint32_t slot) {
  const auto refuse = [&](const std::string& why) {
    Post(*conversation, slot, id, Refusal(ipc::Code::kUnavailable, why));
  };
  if (!gateway_ || control_ == nullptr) {
    refuse("models cannot be controlled from here");
    return;
  }
  if (in_progress_.fetch_add(1) >= kMostInProgress) {
    in_progress_.fetch_sub(1);
    refuse(std::to_string(kMostInProgress) +
           " loads and unloads of this instance are under way, which is as many as may be: wait for some");
    return;
  }
  // The views of the decoded question point into the body, which stays where it is when the vector moves.
  const auto work = [conversation, gateway = gateway_,
                     body = std::make_shared<std::vector<std::byte>>(std::move(body)), slot, id, this] {
    const ipc::Ask ask = ipc::DecodeAsk(*body);
    AnswerWith(*conversation, slot, id, [&] { return AskCore(gateway->server(), ask); });
    in_progress_.fetch_sub(1);  // the conversation owns this object
  };
  bool started = false;
  try {
    started = control_->Run(work);
  } catch (const std::exception&) {
    started = false;  // no thread can be started
  }
  if (!started) {
    in_progress_.fetch_sub(1);
    refuse("the server has no thread for it: too many loads and unloads by models are under way");
  }
}

}  // namespace tpb::backend::control
