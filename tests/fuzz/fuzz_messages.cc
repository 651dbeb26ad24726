// One message, of the kind that the first byte says. It is decoded or refused with an ipc::Error, and what
// was decoded is the same after another journey.
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "backend/lines.h"
#include "backend/printable.h"
#include "ipc/bytes.h"
#include "ipc/codec.h"
#include "ipc/error.h"
#include "ipc/handshake.h"
#include "ipc/messages.h"
#include "ipc/preparation.h"
#include "ipc/socket.h"
#include "tests/fuzz/inputs.h"

namespace {

namespace ipc = tpb::ipc;
using tpb::fuzz::Input;
using tpb::fuzz::Kind;

using Body = std::vector<std::byte>;

// As ServerChannel::CopyBody gives it: on the heap, and not a byte longer.
Body Copy(std::span<const std::uint8_t> bytes) {
  const auto view = std::as_bytes(bytes);
  return {view.begin(), view.end()};
}

void Require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

template <typename Message>
Body Encoded(const Message& message) {
  ipc::Writer writer;
  ipc::Encode(message, writer);
  return {writer.bytes().begin(), writer.bytes().end()};
}

template <typename Message>
void Travel(std::span<const std::uint8_t> bytes, Message (*decode)(std::span<const std::byte>)) {
  const Body sent = Copy(bytes);
  const Body again = Encoded(decode(sent));
  Require(Encoded(decode(again)) == again);
}

void ReadyAnswer(std::span<const std::uint8_t> bytes) {
  const Body body = Copy(bytes);
  ipc::Reader reader(body);
  const std::string text(reader.GetString());
  reader.ExpectEnd();
}

// A pair of sockets with `bytes` under way.
std::pair<ipc::UniqueFd, ipc::UniqueFd> Sent(std::span<const std::uint8_t> bytes) {
  auto pair = ipc::SocketPair();
  ::send(pair.second.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return pair;
}

void Hello(std::span<const std::uint8_t> bytes) {
  const auto pair = Sent(bytes);
  const ipc::PeerVersion version = ipc::ReceiveStubHello(pair.first.get(), "1.0", ipc::Patience::kNone);
  Require(version.package == "1.0");
}

void Preparation(std::span<const std::uint8_t> bytes) {
  const auto pair = Sent(bytes);
  if (const auto step = ipc::TakeStep(pair.first.get())) {
    Require(step->text.size() <= ipc::kMaxStepBytes);
  }
}

void Strings(Input input) {
  const auto count = input.Get<std::uint64_t>();
  const Body payload = Copy(input.Rest());
  const bool sound = ipc::FaultOfBytes(payload, count, "output 'OUT'").empty();
  std::uint64_t elements = 0;
  ipc::BytesReader reader(payload);
  while (sound && reader.left() > 0) {
    const auto length = reader.NextLength();
    Require(length.has_value() && *length <= reader.left());
    reader.Take(*length);
    ++elements;
  }
  Require(!sound || elements == count);
}

void Printed(Input input) {
  constexpr std::size_t kLongest = 64;
  tpb::backend::Lines lines(
      [](std::string_view line) {
        Require(line.size() <= kLongest);
        for (const char byte : tpb::backend::Printable(line, tpb::backend::Newlines::kEscape)) {
          Require(static_cast<unsigned char>(byte) >= 0x20 || byte == '\t');
        }
      },
      kLongest);
  while (!input.empty()) {
    const Body piece = Copy(input.Take(input.Get<std::uint8_t>()));
    lines.Add({reinterpret_cast<const char*>(piece.data()), piece.size()});
  }
  lines.Flush();
  Require(!lines.unfinished());
}

void Read(Kind kind, Input input) {
  switch (kind) {
    case Kind::kReply:
      return Travel(input.Rest(), &ipc::DecodeReply);
    case Kind::kResponse:
      return Travel(input.Rest(),
                    static_cast<ipc::Response (*)(std::span<const std::byte>)>(&ipc::DecodeResponse));
    case Kind::kCall:
      return Travel(input.Rest(), &ipc::DecodeCall);
    case Kind::kLogLine:
      return Travel(input.Rest(), &ipc::DecodeLogLine);
    case Kind::kAsk:
      return Travel(input.Rest(), &ipc::DecodeAsk);
    case Kind::kReadyAnswer:
      return ReadyAnswer(input.Rest());
    case Kind::kHello:
      return Hello(input.Rest());
    case Kind::kStep:
      return Preparation(input.Rest());
    case Kind::kBytes:
      return Strings(input);
    case Kind::kPrinted:
      return Printed(input);
    case Kind::kExecute:
      return Travel(input.Rest(), &ipc::DecodeExecute);
    case Kind::kLoad:
      return Travel(input.Rest(), &ipc::DecodeLoad);
    case Kind::kCallAnswer:
      return Travel(input.Rest(), &ipc::DecodeCallAnswer);
    case Kind::kAskAnswer:
      return Travel(input.Rest(), &ipc::DecodeAskAnswer);
    case Kind::kCount:
      return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input({data, size});
  const auto kind = input.Get<std::uint8_t>() % static_cast<std::uint8_t>(Kind::kCount);
  try {
    Read(static_cast<Kind>(kind), input);
  } catch (const ipc::Error&) {  // NOLINT(bugprone-empty-catch)
    // The way in which the server refuses a message; any other exception is a find.
  }
  return 0;
}
