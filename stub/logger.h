// What `pb_utils.Logger` does with a line: to the server's log, or, in a Python without a server, to the
// `logging` module.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "ipc/channel.h"
#include "ipc/wire.h"

namespace tpb::stub {

// From here on lines of this process go over `channel`. Kept until the process ends: a model may log while
// the interpreter shuts down.
void UseForLog(std::shared_ptr<ipc::StubChannel> channel);

// False for a line that nobody would see.
bool LogIsEnabled(ipc::LogLevel level) noexcept;

// With the GIL. `file` and `line` are the caller's; `text` need not be UTF-8.
void SendLog(ipc::LogLevel level, std::string_view file, std::uint32_t line, std::string_view text);

}  // namespace tpb::stub
