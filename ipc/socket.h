// A SOCK_SEQPACKET socket: whole messages, with descriptors beside them.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "ipc/unique_fd.h"

namespace tpb::ipc {

// Both ends are close-on-exec.
std::pair<UniqueFd, UniqueFd> SocketPair();

// Sends one message with copies of `descriptors`; never waits. Throws when the peer is gone, or does not
// read.
void SendMessage(int socket, std::span<const std::byte> message, std::span<const int> descriptors);

struct Received {
  std::vector<std::byte> bytes;  // empty: the peer closed its end
  std::vector<UniqueFd> descriptors;
  bool descriptors_lost = false;  // there were more, but this process may not open so many
};

// Receives one message of at most `max_bytes` and `max_descriptors`; a larger one is a ProtocolError. Waits
// for it, or throws when there is none. A descriptor that leads to a connection of another kind than this one
// is cut off from its peer, which could otherwise keep whoever closes it waiting (SO_LINGER).
enum class Patience { kWait, kNone };
Received ReceiveMessage(int socket, std::size_t max_bytes, int max_descriptors,
                        Patience patience = Patience::kWait);

// Before closing a socket whose peer is not trusted: takes what is under way in it, so that the end of a
// descriptor in there cannot keep this thread waiting either. Never waits.
void Drain(int socket) noexcept;

// Whether the peer has closed its end and nothing is left to receive. Does not block.
bool PeerClosed(int socket) noexcept;

}  // namespace tpb::ipc
