// Questions and their answers as bytes, and what is no question.
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "ipc/codec.h"
#include "ipc/error.h"
#include "ipc/messages.h"
#include "tests/cpp/check.h"

namespace tpb {
namespace {

using Bytes = std::vector<std::byte>;

ipc::Ask SomeAsk() {
  ipc::Ask ask;
  ask.kind = ipc::AskKind::kIsModelReady;
  ask.slot = 3;
  ask.handle = ~std::uint64_t{0};
  ask.option = 5;
  ask.name = "a name";
  ask.text = "";
  ask.pairs = {{"key", "value"}, {"", std::string_view("\0\xff", 2)}};
  ask.numbers = {-0.5, std::numeric_limits<double>::infinity()};
  return ask;
}

ipc::AskAnswer SomeAnswer() {
  ipc::AskAnswer answer;
  answer.failed = true;
  answer.code = ipc::Code::kNotFound;
  answer.text = "why";
  answer.bits = 7;
  return answer;
}

template <typename Message>
Bytes Encoded(const Message& message) {
  ipc::Writer writer;
  ipc::Encode(message, writer);
  return {writer.bytes().begin(), writer.bytes().end()};
}

template <typename Decode>
bool Refuses(const Decode& decode, std::span<const std::byte> bytes) {
  const Bytes copy(bytes.begin(), bytes.end());
  try {
    decode(copy);
    return false;
  } catch (const ipc::ProtocolError&) {
    return true;
  }
}

// Every start of a message, and one that is too long.
template <typename Decode>
void CheckRefusesOtherLengths(const Decode& decode, Bytes bytes) {
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CHECK(Refuses(decode, std::span(bytes).first(size)));
  }
  bytes.resize(bytes.size() + 8);
  CHECK(Refuses(decode, bytes));
}

TEST(AskMessages, AskArrivesAsItWasSent) {
  const ipc::Ask sent = SomeAsk();
  const Bytes bytes = Encoded(sent);

  const ipc::Ask ask = ipc::DecodeAsk(bytes);

  CHECK(ask.kind == sent.kind);
  CHECK(ask.slot == sent.slot);
  CHECK(ask.handle == sent.handle);
  CHECK(ask.option == sent.option);
  CHECK(ask.name == sent.name);
  CHECK(ask.text == sent.text);
  CHECK(ask.pairs == sent.pairs);
  CHECK(ask.numbers == sent.numbers);
}

TEST(AskMessages, AnswerArrivesAsItWasSent) {
  const ipc::AskAnswer sent = SomeAnswer();
  const Bytes bytes = Encoded(sent);

  const ipc::AskAnswer answer = ipc::DecodeAskAnswer(bytes);

  CHECK(answer.failed == sent.failed);
  CHECK(answer.code == sent.code);
  CHECK(answer.text == sent.text);
  CHECK(answer.bits == sent.bits);
}

TEST(AskMessages, OfAnotherLengthAreRefused) {
  CheckRefusesOtherLengths(ipc::DecodeAsk, Encoded(SomeAsk()));
  CheckRefusesOtherLengths(ipc::DecodeAskAnswer, Encoded(SomeAnswer()));
}

}  // namespace
}  // namespace tpb
