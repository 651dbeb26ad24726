// The bytes that a stub names in an answer, found and checked.
#pragma once

#include <cstddef>
#include <span>

#include "backend/leases.h"
#include "ipc/channel.h"
#include "ipc/messages.h"

namespace tpb::backend {

// Borrows what an attachment owns: not for longer than the answer at hand.
class Payloads {
 public:
  Payloads(const ipc::ServerChannel& channel, const Leases& leases) : channel_(channel), leases_(leases) {}

  // Throws ProtocolError when the stub does not hold what it names. The stub may still change the bytes: copy
  // them, or read them as numbers, once.
  [[nodiscard]] std::span<const std::byte> Bytes(const ipc::Tensor& tensor) const {
    return tensor.place == ipc::Place::kStubArena ? channel_.StubBytes(tensor.offset, tensor.size)
                                                  : leases_.Bytes(tensor.lease, tensor.offset, tensor.size);
  }

 private:
  const ipc::ServerChannel& channel_;
  const Leases& leases_;
};

}  // namespace tpb::backend
