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

// Loads, unloads and the like that one channel has under way, and the memory for that.
constexpr std::uint64_t kMostInProgress = 64;
constexpr std::uint64_t kMostBytesInProgress = 2 * ipc::kMaxMessageBytes;

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

// Ends what was begun.
class Asks::InProgress {
 public:
  InProgress(Asks& asks, std::uint64_t size) : asks_(asks), size_(size) {}
  InProgress(const InProgress&) = delete;
  InProgress& operator=(const InProgress&) = delete;
  InProgress(InProgress&&) = delete;
  InProgress& operator=(InProgress&&) = delete;
  ~InProgress() { asks_.End(size_); }

 private:
  Asks& asks_;
  const std::uint64_t size_;
};

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

// Counts a question that gets a thread. Throws ipc::Error when there is no room for it.
void Asks::Begin(std::uint64_t size) {
  if (!gateway_ || control_ == nullptr) {
    throw ipc::Error(ipc::Code::kUnavailable, "models cannot be controlled from here");
  }
  const bool too_many = in_progress_.fetch_add(1) >= kMostInProgress;
  const bool too_large = bytes_in_progress_.fetch_add(size) + size > kMostBytesInProgress;
  if (too_many || too_large) {
    End(size);
    throw ipc::Error(ipc::Code::kUnavailable,
                     (too_many ? std::to_string(kMostInProgress) +
                                     " loads and unloads of this instance are under way, which is as many as "
                                     "may be"
                               : "the files of the loads of this instance that are under way take too much "
                                 "memory") +
                         std::string(": wait for some"));
  }
}

void Asks::End(std::uint64_t size) noexcept {
  in_progress_.fetch_sub(1);
  bytes_in_progress_.fetch_sub(size);
}

void Asks::AnswerLater(const std::shared_ptr<Conversation>& conversation, std::uint64_t id,
                       std::vector<std::byte> body, std::uint32_t slot) {
  const std::uint64_t size = body.size();
  try {
    Begin(size);
  } catch (const ipc::Error& error) {
    Post(*conversation, slot, id, Refusal(error.code(), error.message()));
    return;
  }
  // The conversation, which owns this object, lives until the thread is done.
  const auto work = [this, conversation, body = std::make_shared<std::vector<std::byte>>(std::move(body)),
                     slot, id, size] {
    AnswerWith(*conversation, slot, id, [&] {
      const InProgress until_it_is_answered(*this, size);
      return AskCore(gateway_->server(), ipc::DecodeAsk(*body));
    });
  };
  try {
    if (control_->Run(work)) {
      return;
    }
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // No thread can be started: as when too many run.
  }
  End(size);
  Post(*conversation, slot, id,
       Refusal(ipc::Code::kUnavailable,
               "the server has no thread for it: too many loads and unloads by models are under way"));
}

}  // namespace tpb::backend::control
