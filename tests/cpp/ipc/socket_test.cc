#include "ipc/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <functional>
#include <future>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"
#include "tests/cpp/check.h"
#include "tests/cpp/process.h"

namespace tpb {
namespace {

using ipc::ProtocolError;
using ipc::ReceiveMessage;
using ipc::SendMessage;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string Text(const ipc::Received& received) {
  return {reinterpret_cast<const char*>(received.bytes.data()), received.bytes.size()};
}

// As a peer that does not keep to what SendMessage allows.
void SendManyDescriptors(int socket, int fd, std::size_t count) {
  const std::vector<int> descriptors(count, fd);
  std::vector<std::byte> control(CMSG_SPACE(count * sizeof(int)));
  char letter = 'x';
  iovec part{&letter, 1};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  cmsghdr* rights = CMSG_FIRSTHDR(&header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(count * sizeof(int));
  std::memcpy(CMSG_DATA(rights), descriptors.data(), count * sizeof(int));
  CHECK_EQ(::sendmsg(socket, &header, 0), 1);
}

TEST(Socket, KeepsMessagesApart) {
  const auto [left, right] = ipc::SocketPair();
  SendMessage(left.get(), Bytes("one"), {});
  SendMessage(left.get(), Bytes("and two"), {});

  CHECK_EQ(Text(ReceiveMessage(right.get(), 100, 0)), "one");
  CHECK_EQ(Text(ReceiveMessage(right.get(), 100, 0)), "and two");
}

TEST(Socket, CarriesDescriptorsInTheirOrder) {
  const auto [left, right] = ipc::SocketPair();
  const ipc::UniqueFd first(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const ipc::UniqueFd second(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  SendMessage(left.get(), Bytes("take"), std::array{first.get(), second.get()});

  const auto received = ReceiveMessage(right.get(), 100, 2);

  CHECK_EQ(received.descriptors.size(), 2U);
  CHECK_EQ(::eventfd_write(received.descriptors[0].get(), 7), 0);
  CHECK_EQ(::eventfd_write(received.descriptors[1].get(), 9), 0);
  eventfd_t value = 0;
  CHECK_EQ(::eventfd_read(first.get(), &value), 0);
  CHECK_EQ(value, 7U);
  CHECK_EQ(::eventfd_read(second.get(), &value), 0);
  CHECK_EQ(value, 9U);
}

TEST(Socket, NothingItOpensSurvivesExec) {
  const auto [left, right] = ipc::SocketPair();
  SendMessage(left.get(), Bytes("take"), std::array{STDERR_FILENO});
  const auto received = ReceiveMessage(right.get(), 100, 1);

  for (const int fd : {left.get(), right.get(), received.descriptors[0].get()}) {
    CHECK_EQ(::fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  }
}

// 9 is one more than there is room for, 200 nearly as many as the kernel lets through.
TEST(Socket, RefusesDescriptorsBeyondTheAllowedAndKeepsNone) {
  const auto [left, right] = ipc::SocketPair();
  const auto before = testing::OpenDescriptors();

  for (const auto& [sent, allowed] : {std::pair{1U, 0}, {4U, 3}, {8U, 3}, {9U, 8}, {200U, 8}}) {
    SendManyDescriptors(left.get(), STDERR_FILENO, sent);
    CHECK_THROWS(ProtocolError, ReceiveMessage(right.get(), 100, allowed));
    CHECK(testing::OpenDescriptors() == before);
  }
  SendMessage(left.get(), Bytes("still in step"), {});
  CHECK_EQ(Text(ReceiveMessage(right.get(), 100, 0)), "still in step");
}

TEST(Socket, RefusesToSendMoreDescriptorsThanItHasRoomFor) {
  const auto [left, right] = ipc::SocketPair();
  const std::vector<int> eight(8, STDERR_FILENO);
  const std::vector<int> nine(9, STDERR_FILENO);

  CHECK_THROWS(ipc::Error, SendMessage(left.get(), Bytes("x"), nine));
  SendMessage(left.get(), Bytes("x"), eight);
  CHECK_EQ(ReceiveMessage(right.get(), 100, 8).descriptors.size(), 8U);
}

TEST(Socket, RefusesAMessageBeyondTheAllowedAndKeepsNothing) {
  const auto [left, right] = ipc::SocketPair();
  const auto before = testing::OpenDescriptors();
  SendMessage(left.get(), Bytes("12345"), std::array{STDERR_FILENO});
  SendMessage(left.get(), Bytes("1234"), {});

  CHECK_THROWS(ProtocolError, ReceiveMessage(right.get(), 4, 1));

  CHECK(testing::OpenDescriptors() == before);
  CHECK_EQ(Text(ReceiveMessage(right.get(), 4, 1)), "1234");
}

TEST(Socket, APeerThatIsGoneReadsAsNothing) {
  auto [left, right] = ipc::SocketPair();
  SendMessage(left.get(), Bytes("last words"), {});
  left.Reset();

  CHECK_EQ(Text(ReceiveMessage(right.get(), 100, 0)), "last words");
  CHECK(ReceiveMessage(right.get(), 100, 0).bytes.empty());
}

TEST(Socket, WhoDoesNotWaitGetsOnlyWhatIsThere) {
  auto [left, right] = ipc::SocketPair();
  CHECK_EQ(CHECK_THROWS(ipc::Error, ReceiveMessage(right.get(), 100, 0, ipc::Patience::kNone)),
           "Unable to receive a message from the peer: Resource temporarily unavailable");

  SendMessage(left.get(), Bytes("here"), {});
  CHECK_EQ(Text(ReceiveMessage(right.get(), 100, 0, ipc::Patience::kNone)), "here");

  left.Reset();
  CHECK(ReceiveMessage(right.get(), 100, 0, ipc::Patience::kNone).bytes.empty());
}

// The kernel reports this one as ECONNRESET.
TEST(Socket, APeerThatLeftMailUnreadReadsAsNothing) {
  auto [left, right] = ipc::SocketPair();
  SendMessage(right.get(), Bytes("never read"), {});
  left.Reset();

  CHECK(ReceiveMessage(right.get(), 100, 0).bytes.empty());
}

TEST(Socket, SendingToAPeerThatIsGoneIsAnErrorAndNoSignal) {
  auto [left, right] = ipc::SocketPair();
  left.Reset();

  CHECK_EQ(CHECK_THROWS(ipc::Error, SendMessage(right.get(), Bytes("anyone?"), {})),
           "Unable to send a message to the peer: Broken pipe");
}

// A connection over which nothing gets through any more, and whose last owner is to wait an hour for that.
struct Lingering {
  Lingering() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const at = reinterpret_cast<sockaddr*>(&address);
    CHECK_EQ(::bind(listening.get(), at, size), 0);
    CHECK_EQ(::listen(listening.get(), 1), 0);
    CHECK_EQ(::getsockname(listening.get(), at, &size), 0);
    CHECK_EQ(::connect(own.get(), at, size), 0);
    const linger hour{.l_onoff = 1, .l_linger = 3600};
    CHECK_EQ(::setsockopt(own.get(), SOL_SOCKET, SO_LINGER, &hour, sizeof(hour)), 0);
    const std::string much(1U << 16U, 'x');
    while (::send(own.get(), much.data(), much.size(), MSG_DONTWAIT) > 0) {
    }
  }
  ipc::UniqueFd listening{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  ipc::UniqueFd own{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
};

// What would wait does so on a thread of its own.
void ExpectNoWaiting(const std::function<void()>& end) {
  auto ending = std::async(std::launch::async, end);
  CHECK(ending.wait_for(std::chrono::seconds(30)) == std::future_status::ready);
  ending.get();
}

TEST(Socket, AConnectionThatLingersKeepsNobodyWaiting) {
  for (const auto count : {1U, 9U, 200U}) {
    Lingering connection;
    auto [left, right] = ipc::SocketPair();
    SendManyDescriptors(left.get(), connection.own.get(), count);
    connection.own.Reset();

    ExpectNoWaiting([&right = right] {
      try {
        ReceiveMessage(right.get(), 100, 1);
      } catch (const ProtocolError&) {  // NOLINT(bugprone-empty-catch)
        // More than one.
      }
    });
  }
}

TEST(Socket, AConnectionThatLingersInAnotherSocketKeepsNobodyWaiting) {
  Lingering connection;
  auto [left, right] = ipc::SocketPair();
  auto [inner, outer] = ipc::SocketPair();
  SendMessage(inner.get(), Bytes("x"), std::array{connection.own.get()});
  SendMessage(left.get(), Bytes("x"), std::array{outer.get()});
  SendMessage(left.get(), Bytes("x"), std::array{outer.get(), STDERR_FILENO});
  outer.Reset();
  connection.own.Reset();

  ExpectNoWaiting([&right = right] {
    ipc::Drain(right.get());
    right.Reset();
  });
}

}  // namespace
}  // namespace tpb
