#include "stub/response_sender.h"

#include <chrono>
#include <thread>
#include <utility>

#include "ipc/codec.h"
#include "ipc/error.h"
#include "stub/gil.h"

namespace tpb::stub {
namespace {

using ipc::Code;
using ipc::Error;

constexpr std::chrono::microseconds kLookAgain{200};

[[noreturn]] void RefuseSend(const char* why) {
  throw Error(Code::kInternal, std::string("Unable to send response. ") + why);
}

// As CopyOutputs; what the server has not taken yet makes room when it has.
std::vector<ipc::Block> CopyWhenThereIsRoom(Connection& connection, std::vector<Answer>& answers) {
  while (true) {
    const bool nothing_to_wait_for = connection.channel().events().AllTaken();
    try {
      return CopyOutputs(*connection.channel().arena(), answers);
    } catch (const ipc::ArenaFull&) {
      if (nothing_to_wait_for) {
        throw;
      }
    }
    const GilReleased no_gil;
    if (connection.Gone()) {
      throw Error(Code::kUnavailable, "the server is gone");
    }
    std::this_thread::sleep_for(kLookAgain);
  }
}

}  // namespace

void Turnstile::Await(std::uint64_t ticket) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return serving_ == ticket; });
}

void Turnstile::Leave() {
  {
    const std::scoped_lock lock(mutex_);
    ++serving_;
  }
  wake_.notify_all();
}

ResponseSender::ResponseSender(std::shared_ptr<Connection> connection, std::uint64_t id,
                               std::shared_ptr<const ModelFacts> facts,
                               std::vector<std::string> requested_outputs)
    : connection_(std::move(connection)),
      id_(id),
      facts_(std::move(facts)),
      requested_outputs_(std::move(requested_outputs)) {}

ResponseSender::~ResponseSender() {
  if (!connection_ || connection_->InForkedChild()) {
    return;
  }
  if (cancellation_word_) {
    connection_->cancellation_words().GiveBack(*cancellation_word_);
  }
  if (!closed_) {
    ipc::Slot slot{};
    slot.kind = static_cast<std::uint32_t>(ipc::MessageKind::kAbandon);
    slot.id = id_;
    connection_->book()->Note(slot);
  }
}

void ResponseSender::Send(const std::shared_ptr<InferenceResponse>& response, std::uint32_t flags) {
  Check(response.get(), flags);
  std::optional<Answer> answer;
  if (response) {
    answer = ReadAnswer(*response, requested_outputs_, facts_->state_outputs);
    Check(response.get(), flags);  // encoding strings may have run code of the model
  }
  SendAnswer(std::move(answer), (flags & kCompleteFinal) != 0);
}

void ResponseSender::Fail(Code code, const std::string& text) {
  if (closed_ || !connection_ || connection_->InForkedChild()) {
    return;
  }
  if (!facts_->decoupled && responses_ != 0) {
    SendAnswer(std::nullopt, true);
    return;
  }
  Answer answer;
  answer.kind = ipc::ResponseKind::kError;
  answer.code = code;
  answer.text = text;
  SendAnswer(std::move(answer), true);
}

void ResponseSender::CheckOneMore() const {
  if (!facts_->decoupled && responses_ > 0) {
    RefuseSend("Non-decoupled model cannot send more than one response.");
  }
}

void ResponseSender::Check(const InferenceResponse* response, std::uint32_t flags) const {
  if (!connection_) {
    RefuseSend("Response sender has no reference to the decoupled state of the model.");
  }
  if (flags != 0 && flags != kCompleteFinal) {
    RefuseSend("Unsupported flag provided.");
  }
  if (flags == 0 && response == nullptr) {
    throw Error(Code::kInternal,
                "Inference Response object must be provided when the response flags is set to zero.");
  }
  if (response != nullptr) {
    CheckOneMore();
  } else if (!facts_->decoupled && responses_ == 0) {
    RefuseSend("Non-decoupled model cannot send complete final before sending a response.");
  }
  if (closed_) {
    RefuseSend("Response sender has been closed.");
  }
  if (connection_->InForkedChild()) {
    RefuseSend("It belongs to the process that the model runs in, and this is a forked child of it.");
  }
}

void ResponseSender::SendAnswer(std::optional<Answer> answer, bool final) {
  const std::uint64_t before = responses_;
  std::vector<Answer> answers;
  if (answer) {
    answers.push_back(std::move(*answer));
    ++responses_;
  }
  closed_ = final;
  const std::uint64_t ticket = turnstile_.Take();
  {
    const GilReleased no_gil;
    turnstile_.Await(ticket);
  }
  try {
    Push(answers, final);
  } catch (...) {
    turnstile_.Leave();
    responses_ = before;  // nothing was sent
    closed_ = false;
    throw;
  }
  turnstile_.Leave();
}

void ResponseSender::Push(std::vector<Answer>& answers, bool final) {
  ipc::Slot slot{};
  slot.kind = static_cast<std::uint32_t>(ipc::MessageKind::kRespond);
  slot.flags = final ? ipc::kLast : 0;
  slot.id = id_;
  std::vector<ipc::Block> blocks;
  if (!answers.empty()) {
    blocks = CopyWhenThereIsRoom(*connection_, answers);
    ipc::Writer body;
    const auto responses = ToWire(answers);
    ipc::Encode(responses.front(), body);
    for (auto& block : ipc::PutBody(*connection_->channel().arena(), body.bytes(), slot)) {
      blocks.push_back(std::move(block));
    }
  }
  answers.clear();
  const GilReleased no_gil;
  connection_->PushEvent(slot, blocks);
}

bool ResponseSender::IsCancelled() {
  if (cancelled_ || closed_ || !connection_ || connection_->InForkedChild()) {
    return cancelled_;
  }
  auto& words = connection_->cancellation_words();
  if (!cancellation_word_) {
    cancellation_word_ = words.Take();
    if (!cancellation_word_) {
      return false;  // so many requests are asked about that there is no word for this one
    }
    ipc::Slot slot{};
    slot.kind = static_cast<std::uint32_t>(ipc::MessageKind::kWatch);
    slot.id = id_;
    slot.offset = *cancellation_word_;
    std::vector<ipc::Block> no_blocks;
    const GilReleased no_gil;
    connection_->PushEvent(slot, no_blocks);
  }
  auto said = words.Read(*cancellation_word_, id_);
  if (!said) {
    const GilReleased no_gil;
    said = words.Await(*cancellation_word_, id_, [this] { return connection_->Gone(); });
  }
  cancelled_ = *said;
  return cancelled_;
}

}  // namespace tpb::stub
