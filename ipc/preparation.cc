#include "ipc/preparation.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <span>

#include "ipc/error.h"
#include "ipc/memfd.h"
#include "ipc/socket.h"
#include "ipc/wire.h"

namespace tpb::ipc {
namespace {

void Write(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      ThrowErrno("Unable to write a model's configuration for the launcher of its stub", errno);
    }
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

std::string_view View(const char (&magic)[8]) { return {magic, sizeof(magic)}; }

}  // namespace

void SendConfig(int socket, std::string_view config) {
  const UniqueFd file = OpenMemfd("triton_python_model_config");
  Write(file.get(), config);
  if (::lseek(file.get(), 0, SEEK_SET) != 0) {  // the launcher gets this very position
    ThrowErrno("Unable to rewind a model's configuration for the launcher of its stub", errno);
  }
  SendMessage(socket, std::as_bytes(std::span(kConfigMagic)), std::array{file.get()});
}

std::optional<Step> TakeStep(int socket) {
  std::array<char, sizeof(kStepMagic)> start{};
  const ssize_t count = ::recv(socket, start.data(), start.size(), MSG_PEEK | MSG_DONTWAIT);
  if (count != static_cast<ssize_t>(start.size())) {
    return std::nullopt;
  }
  const std::string_view magic(start.data(), start.size());
  if (magic != View(kStepMagic) && magic != View(kWarningMagic)) {
    return std::nullopt;
  }
  const Received received = ReceiveMessage(socket, kMaxStepBytes, 0, Patience::kNone);
  const std::string_view text(reinterpret_cast<const char*>(received.bytes.data()), received.bytes.size());
  return Step{.warning = magic == View(kWarningMagic), .text = std::string(text.substr(magic.size()))};
}

}  // namespace tpb::ipc
