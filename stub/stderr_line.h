// A line of a model for the log, written to stderr: where no channel can take it.
#pragma once

#include "ipc/messages.h"

namespace tpb::stub {

// `<I|W|E|V> <pid> <file>:<line>] <text>`: as the server's own lines, without the time. With the GIL, which
// is released meanwhile; takes no lock, so it is safe in a forked child.
void WriteToStderr(const ipc::LogLine& line);

}  // namespace tpb::stub
