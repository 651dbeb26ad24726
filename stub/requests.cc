#include "stub/requests.h"

#include <atomic>
#include <string>
#include <utility>

#include "ipc/messages.h"
#include "stub/response_sender.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;

// Finds leases by id. The inputs of a message name them in the order of its list, so the next one is nearly
// always the one that was found last, or its neighbour.
class LeaseFinder {
 public:
  explicit LeaseFinder(const std::vector<std::shared_ptr<Lease>>& leases) : leases_(leases) {}

  const std::shared_ptr<Lease>& Find(const ipc::Tensor& tensor) {
    for (std::size_t tried = 0; tried < leases_.size(); ++tried) {
      if (leases_[at_]->id() == tensor.lease) {
        return leases_[at_];
      }
      at_ = at_ + 1 == leases_.size() ? 0 : at_ + 1;
    }
    throw ipc::ProtocolError("tensor '" + std::string(tensor.name) + "' lies in lease " +
                             std::to_string(tensor.lease) + ", which is not one of its message");
  }

 private:
  const std::vector<std::shared_ptr<Lease>>& leases_;
  std::size_t at_ = 0;
};

}  // namespace

void Batch::DropObjects() {
  returned = py::object();
  list = py::object();
  requests.clear();
}

void Batch::CloseSenders() const noexcept {
  for (const auto& request : requests) {
    if (request->sender()) {
      request->sender()->Close();
    }
  }
}

bool Batch::Shared() const noexcept {
  for (const auto& lease : leases) {
    if (lease.use_count() > 1) {
      return true;
    }
  }
  // Whoever let go last has done so before we give the block back.
  std::atomic_thread_fence(std::memory_order_acquire);
  return false;
}

std::vector<std::shared_ptr<Tensor>> MakeTensors(const std::vector<ipc::Tensor>& wire,
                                                 const std::vector<std::shared_ptr<Lease>>& leases) {
  LeaseFinder finder(leases);
  std::vector<std::shared_ptr<Tensor>> tensors;
  tensors.reserve(wire.size());
  for (const auto& tensor : wire) {
    if (tensor.place != ipc::Place::kServerArena) {
      throw ipc::ProtocolError("tensor '" + std::string(tensor.name) + "' lies outside the server's arena");
    }
    // Without bytes there is nothing to hold on to.
    tensors.push_back(std::make_shared<Tensor>(tensor, tensor.size == 0 ? nullptr : finder.Find(tensor)));
  }
  return tensors;
}

Batch ReadBatch(std::span<const std::byte> message, const std::shared_ptr<Connection>& connection,
                const std::shared_ptr<const ModelFacts>& facts) {
  const ipc::Execute wire = ipc::DecodeExecute(message);
  Batch batch;
  batch.facts = facts;
  batch.book = connection->book();
  batch.leases.reserve(wire.leases.size());
  for (const auto& record : wire.leases) {
    batch.leases.push_back(std::make_shared<Lease>(batch.book, record));
  }
  py::list list(wire.requests.size());
  batch.requests.reserve(wire.requests.size());
  for (std::size_t i = 0; i < wire.requests.size(); ++i) {
    batch.requests.push_back(std::make_shared<InferenceRequest>(
        wire.requests[i], MakeTensors(wire.requests[i].inputs, batch.leases), connection, facts));
    list[i] = py::cast(batch.requests.back());
  }
  batch.list = std::move(list);
  return batch;
}

}  // namespace tpb::stub
