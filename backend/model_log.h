// What models have to say, in the server's log.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ipc/messages.h"

namespace tpb::backend {

// Bit n: core logs messages of level n now. It can change at any time (POST /v2/logging).
std::uint32_t EnabledLogLevels() noexcept;

// A line of pb_utils.Logger.
void LogModelLine(const ipc::LogLine& line);

// A line of what a process prints. `source` stands where other lines of the log have their file.
void LogPrintedLine(ipc::LogLevel level, const std::string& source, int number, std::string_view line);

}  // namespace tpb::backend
