// What a stub does when no work has come for a while: it gives back memory that it holds only for speed.
#pragma once

#include "ipc/channel.h"
#include "ipc/deadline.h"

namespace tpb::stub {

// When the quiet begins, for a wait that begins now.
ipc::Deadline QuietTime(const ipc::StubChannel& channel);

// Main thread, without the GIL. Throws ProtocolError.
void Tidy(ipc::StubChannel& channel);

}  // namespace tpb::stub
