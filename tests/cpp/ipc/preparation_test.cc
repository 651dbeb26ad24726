// What passes before a stub's hello when a launcher prepares its environment.
#include "ipc/preparation.h"

#include <unistd.h>

#include <span>
#include <string>
#include <string_view>

#include "ipc/error.h"
#include "ipc/socket.h"
#include "ipc/wire.h"
#include "tests/cpp/check.h"

namespace tpb {
namespace {

void Send(const ipc::UniqueFd& socket, std::string_view message) {
  ipc::SendMessage(socket.get(), std::as_bytes(std::span(message)), {});
}

std::string ReadAll(int fd) {
  std::string text(1 << 20, '\0');
  const ssize_t count = ::read(fd, text.data(), text.size());
  text.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
  return text;
}

TEST(Preparation, TheLauncherGetsTheConfigurationFromItsStart) {
  const auto [server, launcher] = ipc::SocketPair();
  const std::string config = "{\"name\":\"m\",\"filler\":\"" + std::string(300'000, 'x') + "\"}";

  ipc::SendConfig(server.get(), config);

  const auto received = ipc::ReceiveMessage(launcher.get(), 64, 1);
  CHECK_EQ(received.bytes.size(), sizeof(ipc::kConfigMagic));
  CHECK_EQ(received.descriptors.size(), std::size_t{1});
  CHECK_EQ(ReadAll(received.descriptors[0].get()), config);
}

TEST(Preparation, StepsAndWarningsAndSignsOfLifeAreTaken) {
  const auto [server, launcher] = ipc::SocketPair();
  Send(launcher, "TPBSTEP1unpacking");
  Send(launcher, "TPBWARN1a hook failed");
  Send(launcher, "TPBSTEP1");

  const auto step = ipc::TakeStep(server.get());
  const auto warning = ipc::TakeStep(server.get());
  const auto alive = ipc::TakeStep(server.get());

  CHECK(step && !step->warning && step->text == "unpacking");
  CHECK(warning && warning->warning && warning->text == "a hook failed");
  CHECK(alive && alive->text.empty());
  CHECK(!ipc::TakeStep(server.get()));
}

TEST(Preparation, WhatIsNoStepIsLeftForWhoReadsTheHello) {
  const auto [server, launcher] = ipc::SocketPair();
  for (const std::string message : {"TPBFAIL1no such file", "short", "TBHELLO1"}) {
    Send(launcher, message);
    CHECK(!ipc::TakeStep(server.get()));
    const auto received = ipc::ReceiveMessage(server.get(), 64, 0);
    CHECK_EQ(received.bytes.size(), message.size());
  }
}

TEST(Preparation, AStepThatIsTooLongIsRefused) {
  const auto [server, launcher] = ipc::SocketPair();
  Send(launcher, "TPBSTEP1" + std::string(ipc::kMaxStepBytes, 'x'));

  CHECK_THROWS(ipc::ProtocolError, ipc::TakeStep(server.get()));
}

TEST(Preparation, ALauncherThatIsGoneSaysNothing) {
  auto [server, launcher] = ipc::SocketPair();
  launcher.Reset();

  CHECK(!ipc::TakeStep(server.get()));
}

}  // namespace
}  // namespace tpb
