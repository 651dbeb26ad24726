// How two processes come to share a channel. The stub speaks first; the server answers with the region. The
// same for a stub that the server started, one that attached by itself, and a forked child of either.
#pragma once

#include <string>
#include <string_view>

#include "ipc/socket.h"
#include "ipc/unique_fd.h"
#include "ipc/wire.h"

namespace tpb::ipc {

struct PeerVersion {
  std::string package;  // of triton-python-backend
  std::string python;
};

// Stub: says hello.
void SendStubHello(int socket, const PeerVersion& version);

// Server: reads the stub's hello. Throws Error with a sentence for an operator when the stub is of another
// version, or says itself why it cannot run.
PeerVersion ReceiveStubHello(int socket, std::string_view package_version,
                             Patience patience = Patience::kWait);

// Server: the answer. `pidfd` may be -1.
void SendServerHello(int socket, std::string_view package_version, const Layout& layout, int memfd,
                     int eventfd, int pidfd);

struct Welcome {
  Layout layout{};
  UniqueFd memfd;
  UniqueFd eventfd;
  UniqueFd server_pidfd;  // invalid when the server has none
};

// Stub: waits for the answer. Throws when the server is gone, of another version, or says itself why not.
Welcome ReceiveServerHello(int socket, std::string_view package_version);

// A forked child of the stub introduces itself: over the socket that it inherited it hands the server one end
// of a pair of its own, in which its hello is waiting already.
void SendChild(int socket, int child_socket);

// Server: whether that is what a message says; the socket is its only descriptor.
bool IsChild(std::string_view message);

// Either side: says, instead of or after a hello, why it cannot go on. Never throws: the socket may be gone.
void SendFailure(int socket, std::string_view text) noexcept;

// The text of such a message, or nothing when the bytes are something else.
std::string FailureText(std::string_view message);

}  // namespace tpb::ipc
