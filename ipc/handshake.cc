#include "ipc/handshake.h"

#include <unistd.h>

#include <array>
#include <cstring>
#include <span>
#include <vector>

#include "ipc/error.h"
#include "ipc/socket.h"

namespace tpb::ipc {
namespace {

constexpr std::size_t kMaxHello = 16384;

template <std::size_t N>
void CopyText(char (&to)[N], std::string_view from) {
  std::memset(to, 0, N);
  from.copy(to, N - 1);
}

template <std::size_t N>
std::string TextOf(const char (&from)[N]) {
  return {from, ::strnlen(from, N)};
}

std::string_view AsText(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void CheckVersions(std::uint32_t wire_version, const std::string& peer, std::string_view own,
                   const char* who) {
  if (wire_version != kWireVersion || peer != own) {
    throw Error(Code::kUnavailable, std::string("the ") + who + " has triton-python-backend " + peer +
                                        " (wire version " + std::to_string(wire_version) + "), expected " +
                                        std::string(own) + " (wire version " + std::to_string(kWireVersion) +
                                        "): install the same version on both sides");
  }
}

}  // namespace

void SendStubHello(int socket, const PeerVersion& version) {
  StubHello hello{};
  hello.magic = kHelloMagic;
  hello.wire_version = kWireVersion;
  hello.pid = static_cast<std::uint32_t>(::getpid());
  CopyText(hello.package_version, version.package);
  CopyText(hello.python_version, version.python);
  SendMessage(socket, std::as_bytes(std::span(&hello, 1)), {});
}

PeerVersion ReceiveStubHello(int socket, std::string_view package_version, Patience patience) {
  const Received received = ReceiveMessage(socket, kMaxHello, 0, patience);
  if (received.bytes.empty()) {
    throw Error(Code::kUnavailable, "the stub process ended before its first message");
  }
  if (const std::string failure = FailureText(AsText(received.bytes)); !failure.empty()) {
    throw Error(Code::kInternal, failure);
  }
  StubHello hello{};
  if (received.bytes.size() != sizeof(hello)) {
    throw ProtocolError("a first message of " + std::to_string(received.bytes.size()) +
                        " bytes from the stub process");
  }
  std::memcpy(&hello, received.bytes.data(), sizeof(hello));
  if (hello.magic != kHelloMagic) {
    throw ProtocolError("the first message of the stub process is not a hello");
  }
  PeerVersion version{.package = TextOf(hello.package_version), .python = TextOf(hello.python_version)};
  CheckVersions(hello.wire_version, version.package, package_version, "stub process");
  return version;
}

void SendServerHello(int socket, std::string_view package_version, const Layout& layout, int memfd,
                     int eventfd, int pidfd) {
  ServerHello hello{};
  hello.magic = kHelloMagic;
  hello.wire_version = kWireVersion;
  hello.has_pidfd = pidfd >= 0 ? 1 : 0;
  CopyText(hello.package_version, package_version);
  hello.layout = layout;
  const std::array<int, kServerHelloDescriptors> descriptors{memfd, eventfd, pidfd >= 0 ? pidfd : memfd};
  SendMessage(socket, std::as_bytes(std::span(&hello, 1)), descriptors);
}

Welcome ReceiveServerHello(int socket, std::string_view package_version) {
  Received received = ReceiveMessage(socket, kMaxHello, kServerHelloDescriptors);
  if (received.bytes.empty()) {
    throw Error(Code::kUnavailable, "the server closed the connection during the handshake");
  }
  if (const std::string failure = FailureText(AsText(received.bytes)); !failure.empty()) {
    throw Error(Code::kUnavailable, failure);
  }
  ServerHello hello{};
  if (received.bytes.size() != sizeof(hello) || received.descriptors.size() != kServerHelloDescriptors) {
    throw ProtocolError("the server's hello has " + std::to_string(received.bytes.size()) + " bytes and " +
                        std::to_string(received.descriptors.size()) + " descriptors");
  }
  std::memcpy(&hello, received.bytes.data(), sizeof(hello));
  if (hello.magic != kHelloMagic) {
    throw ProtocolError("the server's first message is not a hello");
  }
  CheckVersions(hello.wire_version, TextOf(hello.package_version), package_version, "server");
  Welcome welcome;
  welcome.layout = hello.layout;
  welcome.memfd = std::move(received.descriptors[0]);
  welcome.eventfd = std::move(received.descriptors[1]);
  if (hello.has_pidfd != 0) {
    welcome.server_pidfd = std::move(received.descriptors[2]);
  }
  return welcome;
}

void SendChild(int socket, int child_socket) {
  SendMessage(socket, std::as_bytes(std::span(kChildMagic)), std::array{child_socket});
}

bool IsChild(std::string_view message) {
  return message == std::string_view(kChildMagic, sizeof(kChildMagic));
}

void SendFailure(int socket, std::string_view text) noexcept {
  try {
    std::string message(kFailureMagic, sizeof(kFailureMagic));
    message += text.substr(0, kMaxHello - sizeof(kFailureMagic));
    SendMessage(socket, std::as_bytes(std::span(message)), {});
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // Nobody is left to tell.
  }
}

std::string FailureText(std::string_view message) {
  const std::string_view magic(kFailureMagic, sizeof(kFailureMagic));
  if (!message.starts_with(magic)) {
    return {};
  }
  return std::string(message.substr(magic.size()));
}

}  // namespace tpb::ipc
