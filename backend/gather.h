// Triton's input buffers -> blocks that the stub may look at, and the message that names them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "backend/batch.h"
#include "backend/leases.h"
#include "ipc/arena.h"
#include "ipc/codec.h"

namespace tpb::backend {

struct InstanceFacts {
  std::string name;
  bool has_batch_dimension = false;  // max_batch_size > 0
};

struct Gathered {
  std::vector<std::size_t> sent;  // which items of the batch are in the message, in its order
  std::uint64_t inferences = 0;   // sum of the batch dimensions, or the number of requests without one
};

// Copies the inputs of the batch into `arena` and encodes its message into `body`. The pieces of one input
// lie side by side in request order, each at a multiple of kAlignment, so that pieces of such a size form one
// array. A request that cannot be passed on (a buffer in GPU memory, a malformed BYTES tensor, a parameter of
// an unknown type) gets its error here and is left out. Throws ipc::ArenaFull when the rest does not fit, and
// ipc::Error when the batch as a whole cannot be passed on. Responses to item `i` go by `first_response_id +
// i`.
Gathered Gather(Batch& batch, ipc::Arena& arena, ExchangeLeases& leases, const InstanceFacts& instance,
                std::uint64_t first_response_id, ipc::Writer& body);

}  // namespace tpb::backend
