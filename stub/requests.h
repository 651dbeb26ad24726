// From the message that names a batch to the objects that a model's execute gets.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "stub/connection.h"
#include "stub/lease.h"
#include "stub/model_facts.h"
#include "stub/request.h"

namespace tpb::stub {

// One batch, from its message to its answer.
struct Batch {
  std::shared_ptr<const ModelFacts> facts;     // shared with the requests
  std::shared_ptr<LeaseBook> book;             // shared with the leases
  std::vector<std::shared_ptr<Lease>> leases;  // shared with tensors and arrays that the model may keep
  std::vector<std::shared_ptr<InferenceRequest>> requests;
  pybind11::object list;      // of `requests`: the argument of execute
  pybind11::object returned;  // by execute

  // Lets go of every Python object of the batch; what then still holds a lease is the model's.
  void DropObjects();

  // What their senders send from here on is refused: the server answers for them.
  void CloseSenders() const noexcept;

  // Some lease has another holder than this batch.
  [[nodiscard]] bool Shared() const noexcept;
};

// The tensors of a message, which lie in blocks of the server. Throws ProtocolError for one that does not.
std::vector<std::shared_ptr<Tensor>> MakeTensors(const std::vector<ipc::Tensor>& wire,
                                                 const std::vector<std::shared_ptr<Lease>>& leases);

// Throws ProtocolError for anything that the server may not send.
Batch ReadBatch(std::span<const std::byte> message, const std::shared_ptr<Connection>& connection,
                const std::shared_ptr<const ModelFacts>& facts);

}  // namespace tpb::stub
