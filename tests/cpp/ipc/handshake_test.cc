#include "ipc/handshake.h"

#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ipc/error.h"
#include "ipc/peer.h"
#include "ipc/region.h"
#include "ipc/socket.h"
#include "ipc/unique_fd.h"
#include "tests/cpp/check.h"
#include "tests/cpp/process.h"

namespace tpb {
namespace {

using ipc::ProtocolError;
using ipc::ReceiveServerHello;
using ipc::ReceiveStubHello;

constexpr std::uint64_t kPage = 4096;

struct Sockets {
  Sockets() {
    auto ends = ipc::SocketPair();
    server = std::move(ends.first);
    stub = std::move(ends.second);
  }
  ipc::UniqueFd server;
  ipc::UniqueFd stub;
};

template <typename Hello>
void SendRaw(int socket, const Hello& hello, std::size_t bytes, std::span<const int> descriptors = {}) {
  ipc::SendMessage(socket, std::as_bytes(std::span(&hello, 1)).first(bytes), descriptors);
}

ipc::StubHello GoodStubHello() {
  ipc::StubHello hello{};
  hello.magic = ipc::kHelloMagic;
  hello.wire_version = ipc::kWireVersion;
  std::strcpy(hello.package_version, "1.2.3");
  std::strcpy(hello.python_version, "3.11.7");
  return hello;
}

ipc::ServerHello GoodServerHello() {
  ipc::ServerHello hello{};
  hello.magic = ipc::kHelloMagic;
  hello.wire_version = ipc::kWireVersion;
  std::strcpy(hello.package_version, "1.2.3");
  return hello;
}

bool SameFile(int left, int right) {
  struct stat one{};
  struct stat other{};
  return ::fstat(left, &one) == 0 && ::fstat(right, &other) == 0 && one.st_dev == other.st_dev &&
         one.st_ino == other.st_ino;
}

TEST(Handshake, TheStubsHelloArrives) {
  const Sockets sockets;
  ipc::SendStubHello(sockets.stub.get(), {.package = "1.2.3", .python = "3.11.7"});

  const auto version = ReceiveStubHello(sockets.server.get(), "1.2.3");

  CHECK_EQ(version.package, "1.2.3");
  CHECK_EQ(version.python, "3.11.7");
}

TEST(Handshake, TheServersAnswerArrivesWithItsDescriptors) {
  const Sockets sockets;
  const auto region = ipc::Region::Create("tpb-test-handshake", kPage, kPage);
  const ipc::UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const ipc::UniqueFd pidfd = ipc::OpenPidfd(::getpid());
  ipc::Layout layout{};
  layout.region_size = kPage;
  layout.events = {.offset = 64, .capacity = 8, .reserved = 0};
  layout.stub_arena = {.offset = 1024, .size = 2048};
  layout.memory_rules.release_after_seconds = 17;
  ipc::SendServerHello(sockets.server.get(), "1.2.3", layout, region->fd(), wake.get(), pidfd.get());

  const auto welcome = ReceiveServerHello(sockets.stub.get(), "1.2.3");

  CHECK_EQ(std::memcmp(&welcome.layout, &layout, sizeof(layout)), 0);
  CHECK(SameFile(welcome.memfd.get(), region->fd()));
  CHECK_EQ(::eventfd_write(welcome.eventfd.get(), 5), 0);
  eventfd_t value = 0;
  CHECK_EQ(::eventfd_read(wake.get(), &value), 0);
  CHECK_EQ(value, 5U);
  const auto fdinfo = testing::OpenDescriptors().at(welcome.server_pidfd.get());
  CHECK(fdinfo.find("pidfd") != std::string::npos);
}

TEST(Handshake, AServerWithoutAPidfdSaysSo) {
  const Sockets sockets;
  const auto region = ipc::Region::Create("tpb-test-handshake", kPage, kPage);
  const ipc::UniqueFd wake(::eventfd(0, EFD_CLOEXEC));
  const auto before = testing::OpenDescriptors().size();
  ipc::SendServerHello(sockets.server.get(), "1.2.3", {}, region->fd(), wake.get(), -1);

  const auto welcome = ReceiveServerHello(sockets.stub.get(), "1.2.3");

  CHECK(!welcome.server_pidfd.valid());
  CHECK(SameFile(welcome.memfd.get(), region->fd()));
  CHECK_EQ(testing::OpenDescriptors().size(), before + 2);
}

TEST(Handshake, OtherVersionsAreNamedOnBothSides) {
  const Sockets sockets;
  ipc::SendStubHello(sockets.stub.get(), {.package = "0.9", .python = "3.11.7"});
  CHECK_EQ(CHECK_THROWS(ipc::Error, ReceiveStubHello(sockets.server.get(), "1.2.3")),
           "the stub process has triton-python-backend 0.9 (wire version 4), expected 1.2.3 (wire version "
           "4): install "
           "the same version on both sides");

  ipc::SendServerHello(sockets.server.get(), "1.2.3", {}, STDERR_FILENO, STDERR_FILENO, -1);
  CHECK_EQ(CHECK_THROWS(ipc::Error, ReceiveServerHello(sockets.stub.get(), "0.9")),
           "the server has triton-python-backend 1.2.3 (wire version 4), expected 0.9 (wire version 4): "
           "install the same "
           "version on both sides");
}

TEST(Handshake, AnotherWireVersionIsRefusedThoughThePackageIsTheSame) {
  const Sockets sockets;
  auto from_stub = GoodStubHello();
  from_stub.wire_version = ipc::kWireVersion + 1;
  SendRaw(sockets.stub.get(), from_stub, sizeof(from_stub));
  auto from_server = GoodServerHello();
  from_server.wire_version = ipc::kWireVersion + 1;
  SendRaw(sockets.server.get(), from_server, sizeof(from_server), std::array{2, 2, 2});

  const std::string at_server = CHECK_THROWS(ipc::Error, ReceiveStubHello(sockets.server.get(), "1.2.3"));
  const std::string at_stub = CHECK_THROWS(ipc::Error, ReceiveServerHello(sockets.stub.get(), "1.2.3"));

  CHECK(at_server.find("1.2.3 (wire version 5), expected 1.2.3 (wire version 4)") != std::string::npos);
  CHECK(at_stub.find("1.2.3 (wire version 5), expected 1.2.3 (wire version 4)") != std::string::npos);
}

TEST(Handshake, AVersionWithoutAnEndIsReadNoFurtherThanItsField) {
  const Sockets sockets;
  auto hello = GoodStubHello();
  std::memset(hello.package_version, 'v', sizeof(hello.package_version));
  SendRaw(sockets.stub.get(), hello, sizeof(hello));

  const std::string text = CHECK_THROWS(ipc::Error, ReceiveStubHello(sockets.server.get(), "1.2.3"));

  CHECK(text.find(" " + std::string(32, 'v') + " ") != std::string::npos);
}

TEST(Handshake, AStubThatCannotRunSaysWhy) {
  const Sockets sockets;
  ipc::SendFailure(sockets.stub.get(), "no module named numpy: install it in the model's environment");

  CHECK_EQ(CHECK_THROWS(ipc::Error, ReceiveStubHello(sockets.server.get(), "1.2.3")),
           "no module named numpy: install it in the model's environment");
}

TEST(Handshake, AFailureOfAnyLengthArrives) {
  const Sockets sockets;
  ipc::SendFailure(sockets.stub.get(), std::string(100000, 'x'));

  const std::string text = CHECK_THROWS(ipc::Error, ReceiveStubHello(sockets.server.get(), "1.2.3"));

  CHECK(text.size() > 16000 && text == std::string(text.size(), 'x'));
}

TEST(Handshake, AFailureThatNobodyReadsIsNoError) {
  Sockets sockets;
  sockets.server.Reset();

  ipc::SendFailure(sockets.stub.get(), "is anybody there?");
}

TEST(Handshake, OnlyAFailureHasAText) {
  CHECK_EQ(ipc::FailureText("TPBFAIL1why"), "why");
  CHECK_EQ(ipc::FailureText("TPBFAIL"), "");
  CHECK_EQ(ipc::FailureText("TPBFAIL2why"), "");
  CHECK_EQ(ipc::FailureText(""), "");
}

TEST(Handshake, AHelloThatIsCutOrTooLongIsRefused) {
  const Sockets sockets;
  const auto from_stub = GoodStubHello();
  for (const std::size_t size : {std::size_t{1}, std::size_t{8}, sizeof(from_stub) - 1}) {
    SendRaw(sockets.stub.get(), from_stub, size);
    CHECK_THROWS(ProtocolError, ReceiveStubHello(sockets.server.get(), "1.2.3"));
  }
  ipc::SendMessage(sockets.stub.get(), std::vector<std::byte>(sizeof(from_stub) + 1), {});
  CHECK_THROWS(ProtocolError, ReceiveStubHello(sockets.server.get(), "1.2.3"));
  ipc::SendMessage(sockets.stub.get(), std::vector<std::byte>(20000), {});
  CHECK_THROWS(ProtocolError, ReceiveStubHello(sockets.server.get(), "1.2.3"));

  const auto from_server = GoodServerHello();
  SendRaw(sockets.server.get(), from_server, sizeof(from_server) - 1, std::array{2, 2, 2});
  CHECK_EQ(CHECK_THROWS(ProtocolError, ReceiveServerHello(sockets.stub.get(), "1.2.3")),
           "the server's hello has 239 bytes and 3 descriptors");
}

TEST(Handshake, WhatIsNoHelloIsRefused) {
  const Sockets sockets;
  auto from_stub = GoodStubHello();
  from_stub.magic ^= 1;
  SendRaw(sockets.stub.get(), from_stub, sizeof(from_stub));
  CHECK_THROWS(ProtocolError, ReceiveStubHello(sockets.server.get(), "1.2.3"));

  auto from_server = GoodServerHello();
  from_server.magic ^= 1;
  SendRaw(sockets.server.get(), from_server, sizeof(from_server), std::array{2, 2, 2});
  CHECK_THROWS(ProtocolError, ReceiveServerHello(sockets.stub.get(), "1.2.3"));
}

TEST(Handshake, AForkedChildBringsASocketInWhichItsHelloWaits) {
  const Sockets inherited;
  Sockets own;
  ipc::SendStubHello(own.stub.get(), {.package = "1.2.3", .python = "3.11.7"});
  ipc::SendChild(inherited.stub.get(), own.server.get());
  own.server.Reset();

  const auto received = ipc::ReceiveMessage(inherited.server.get(), 100, 1, ipc::Patience::kNone);

  CHECK(ipc::IsChild({reinterpret_cast<const char*>(received.bytes.data()), received.bytes.size()}));
  CHECK_EQ(received.descriptors.size(), 1U);
  const int childs = received.descriptors[0].get();
  CHECK_EQ(ReceiveStubHello(childs, "1.2.3", ipc::Patience::kNone).python, "3.11.7");
  ipc::SendServerHello(childs, "1.2.3", {}, STDERR_FILENO, STDERR_FILENO, -1);
  CHECK(ReceiveServerHello(own.stub.get(), "1.2.3").memfd.valid());
}

TEST(Handshake, OnlyAForkedChildLooksLikeOne) {
  CHECK(ipc::IsChild("TPBCHILD"));
  CHECK(!ipc::IsChild("TPBCHIL"));
  CHECK(!ipc::IsChild("TPBCHILD1"));
  CHECK(!ipc::IsChild("TPBFAIL1"));
  CHECK(!ipc::IsChild(""));
}

TEST(Handshake, AChildWithoutAHelloIsNotWaitedFor) {
  const Sockets sockets;

  CHECK_THROWS(ipc::Error, ReceiveStubHello(sockets.server.get(), "1.2.3", ipc::Patience::kNone));
}

TEST(Handshake, AServerThatRefusesSaysWhy) {
  const Sockets sockets;
  ipc::SendFailure(sockets.server.get(), "64 forked children already talk to the server");

  CHECK_EQ(CHECK_THROWS(ipc::Error, ReceiveServerHello(sockets.stub.get(), "1.2.3")),
           "64 forked children already talk to the server");
}

TEST(Handshake, DescriptorsThatDoNotBelongAreRefusedAndClosed) {
  const Sockets sockets;
  const auto before = testing::OpenDescriptors();
  const std::vector<int> errors(4, STDERR_FILENO);

  SendRaw(sockets.stub.get(), GoodStubHello(), sizeof(ipc::StubHello), std::span(errors).first(1));
  CHECK_THROWS(ProtocolError, ReceiveStubHello(sockets.server.get(), "1.2.3"));
  for (const std::size_t count : {0U, 1U, 2U, 4U}) {
    SendRaw(sockets.server.get(), GoodServerHello(), sizeof(ipc::ServerHello),
            std::span(errors).first(count));
    CHECK_THROWS(ProtocolError, ReceiveServerHello(sockets.stub.get(), "1.2.3"));
  }

  CHECK(testing::OpenDescriptors() == before);
}

TEST(Handshake, APeerThatEndsIsNamed) {
  Sockets first;
  first.stub.Reset();
  CHECK_EQ(CHECK_THROWS(ipc::Error, ReceiveStubHello(first.server.get(), "1.2.3")),
           "the stub process ended before its first message");

  Sockets second;
  second.server.Reset();
  CHECK_EQ(CHECK_THROWS(ipc::Error, ReceiveServerHello(second.stub.get(), "1.2.3")),
           "the server closed the connection during the handshake");
}

}  // namespace
}  // namespace tpb
