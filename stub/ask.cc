#include "stub/ask.h"

#include <cstddef>
#include <memory>
#include <vector>

#include "ipc/codec.h"
#include "ipc/error.h"
#include "stub/gil.h"
#include "stub/lease.h"
#include "stub/slot_holder.h"

namespace tpb::stub {
namespace {

using ipc::Code;
using ipc::Error;

void CheckSize(const ipc::Writer& body) {
  if (body.bytes().size() > ipc::kMaxMessageBytes) {
    throw Error(Code::kInvalidArg, "a message of " + std::to_string(body.bytes().size()) +
                                       " bytes is too large for the server, which takes at most " +
                                       std::to_string(ipc::kMaxMessageBytes));
  }
}

ipc::Posted Exchange(Connection& connection, ipc::Ask& ask) {
  SlotHolder holder(connection);
  ask.slot = holder.index();
  ipc::Slot event{};
  event.kind = static_cast<std::uint32_t>(ipc::MessageKind::kAsk);
  event.id = connection.NextCallId();
  try {
    ipc::Writer body;
    ipc::Encode(ask, body);
    CheckSize(body);
    auto blocks = ipc::PutBody(*connection.channel().arena(), body.bytes(), event);
    holder.SetFree(false);
    connection.PushEvent(event, blocks);
  } catch (...) {
    holder.SetFree(true);  // the server has not heard of it
    throw;
  }
  const auto posted =
      connection.call_slots().Await(holder.index(), event.id, [&] { return connection.Gone(); });
  if (!posted) {
    throw Error(Code::kUnavailable, "the server is gone");
  }
  holder.SetFree(true);
  return *posted;
}

std::uint64_t Read(Connection& connection, const ipc::Posted& posted) {
  if (posted.no_room) {
    throw Error(
        Code::kInternal,
        "the server's side of the shared memory has no room for an answer. Let go of tensors that the "
        "model keeps, or raise --backend-config=python,shm-max-byte-size");
  }
  Lease body(connection.book(), {.lease = posted.lease, .offset = posted.offset, .size = posted.size});
  body.Keep();  // the server waits for its release
  const std::vector<std::byte> copy(body.bytes().begin(), body.bytes().end());
  const ipc::AskAnswer answer = ipc::DecodeAskAnswer(copy);
  if (answer.failed) {
    throw Error(answer.code, std::string(answer.text));
  }
  return answer.bits;
}

}  // namespace

std::uint64_t Ask(Connection& connection, ipc::Ask ask) {
  const GilReleased no_gil;
  return Read(connection, Exchange(connection, ask));
}

std::shared_ptr<Connection> ServerFor(std::string_view what) {
  auto connection = Connection::Current();
  if (!connection) {
    throw Error(Code::kUnavailable, std::string(what) +
                                        " needs a server: it works in a model that a server runs, on any of "
                                        "its threads");
  }
  return connection;
}

std::string FromServer(const Connection& connection, std::string_view text) {
  return "Failed to process the request for model '" + connection.book()->label() +
         "', message: " + std::string(text);
}

}  // namespace tpb::stub
