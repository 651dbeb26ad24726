#include "ipc/socket.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "ipc/error.h"

namespace tpb::ipc {
namespace {

constexpr std::size_t kMaxDescriptors = 8;
// As many as the kernel lets into one message (SCM_MAX_FD): it would close those for which there is no room.
constexpr std::size_t kMostDescriptors = 253;
constexpr int kMostDrained = 1024;  // messages: more than fit into a socket

// One that stays open in the peer's hands goes on waiting there.
void CutOff(int fd) noexcept {
  int domain = AF_UNSPEC;
  socklen_t size = sizeof(domain);
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain == AF_UNIX) {
    return;
  }
  const linger none{};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
  sockaddr nobody{};
  nobody.sa_family = AF_UNSPEC;
  static_cast<void>(::connect(fd, &nobody, sizeof(nobody)));
}

// Takes every descriptor that came along, so that none leaks whatever the caller thinks of the message.
std::vector<UniqueFd> TakeDescriptors(msghdr& header) {
  std::vector<UniqueFd> taken;
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr;
       control = CMSG_NXTHDR(&header, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    const std::size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(int));
      taken.emplace_back(fd);
      CutOff(fd);
    }
  }
  return taken;
}

}  // namespace

std::pair<UniqueFd, UniqueFd> SocketPair() {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    ThrowErrno("Unable to create a socket pair for a stub process", errno);
  }
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

void SendMessage(int socket, std::span<const std::byte> message, std::span<const int> descriptors) {
  if (descriptors.size() > kMaxDescriptors) {
    throw Error(Code::kInternal, "a message with " + std::to_string(descriptors.size()) +
                                     " descriptors: at most " + std::to_string(kMaxDescriptors) +
                                     " are supported");
  }
  iovec part{const_cast<std::byte*>(message.data()), message.size()};
  alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int) * kMaxDescriptors)] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!descriptors.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
  }
  ssize_t sent = -1;
  do {
    sent = ::sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    ThrowErrno("Unable to send a message to the peer", errno);
  }
}

Received ReceiveMessage(int socket, std::size_t max_bytes, int max_descriptors, Patience patience) {
  Received received;
  received.bytes.resize(max_bytes);
  iovec part{received.bytes.data(), max_bytes};
  alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int) * kMostDescriptors)];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  ssize_t count = -1;
  do {
    count = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC | (patience == Patience::kNone ? MSG_DONTWAIT : 0));
  } while (count < 0 && errno == EINTR);
  if (count < 0 && errno == ECONNRESET) {
    count = 0;
  }
  if (count < 0) {
    ThrowErrno("Unable to receive a message from the peer", errno);
  }
  received.descriptors = TakeDescriptors(header);
  const auto flags = static_cast<unsigned>(header.msg_flags);
  received.descriptors_lost = (flags & MSG_CTRUNC) != 0;
  if ((flags & MSG_TRUNC) != 0 || received.descriptors.size() > static_cast<std::size_t>(max_descriptors)) {
    for (const UniqueFd& fd : received.descriptors) {
      Drain(fd.get());
    }
    throw ProtocolError("the peer sent a larger message than the protocol knows");
  }
  received.bytes.resize(static_cast<std::size_t>(count));
  return received;
}

// Sockets that travel in sockets: the kernel lets them be four deep.
// NOLINTNEXTLINE(misc-no-recursion)
void Drain(int socket) noexcept {
  for (int messages = 0; messages < kMostDrained; ++messages) {
    alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int) * kMostDescriptors)];
    std::byte bytes[4096];
    iovec part{bytes, sizeof(bytes)};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    if (::recvmsg(socket, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0) {
      return;
    }
    for (const UniqueFd& fd : TakeDescriptors(header)) {
      Drain(fd.get());
    }
  }
}

bool PeerClosed(int socket) noexcept {
  char first = 0;
  const ssize_t count = ::recv(socket, &first, 1, MSG_PEEK | MSG_DONTWAIT);
  return count == 0 || (count < 0 && errno == ECONNRESET);
}

}  // namespace tpb::ipc
