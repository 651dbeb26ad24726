// What passes over a stub's socket before its hello, when a launcher prepares the model's own Python
// environment first: the server hands it the configuration, and it says how far it is.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tpb::ipc {

// Server: gives the launcher the model's configuration, as JSON. Sent before the process starts, so that the
// message waits for it.
void SendConfig(int socket, std::string_view config);

// One message of the launcher.
struct Step {
  bool warning = false;
  std::string text;  // empty: only a sign of life
};

// Server: takes the next message if it is a step, and leaves everything else, the hello above all, where it
// is. Does not wait.
std::optional<Step> TakeStep(int socket);

}  // namespace tpb::ipc
