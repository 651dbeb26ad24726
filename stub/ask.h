// Questions to the server that it answers in a call slot: metrics, and the control of models.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "ipc/messages.h"
#include "stub/connection.h"

namespace tpb::stub {

// Asks and waits, without the GIL, for as long as the server takes; any thread, with the GIL held at the
// start and at the end. Returns the number that answers the question. What `ask` refers to lives until then.
// Throws Error: with what the server says, or what goes wrong on the way.
std::uint64_t Ask(Connection& connection, ipc::Ask ask);

// Where questions from this thread go. `what` is what cannot be done without a server. Throws Error.
std::shared_ptr<Connection> ServerFor(std::string_view what);

// How the server's texts reach a model: "Failed to process the request for model '<instance>', message: ...".
std::string FromServer(const Connection& connection, std::string_view text);

}  // namespace tpb::stub
