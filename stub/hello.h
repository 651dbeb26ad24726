// The first message of this process on a socket to the server.
#pragma once

namespace tpb::stub {

// Throws Error when the server is gone. Needs the interpreter, but not the GIL.
void SayHello(int socket);

}  // namespace tpb::stub
