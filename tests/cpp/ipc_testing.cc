// `_ipc_testing`: the building blocks of ipc/ as Python objects, so that Hypothesis can look for what nobody
// thought of. Thin on purpose: what a property needs to see, and nothing that could hide a fault.
#include "tests/cpp/ipc_testing.h"

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

#include "ipc/arena.h"
#include "ipc/channel.h"
#include "ipc/error.h"
#include "ipc/region.h"
#include "ipc/ring.h"
#include "tests/cpp/ipc/ring_position.h"

namespace py = pybind11;

namespace tpb::testing {
namespace {

constexpr std::uint64_t kPage = 4096;

std::shared_ptr<ipc::Arena> CreateArena(std::uint64_t size) {
  const std::uint64_t region_size = (size + 2 * kPage - 1) / kPage * kPage;
  return ipc::Arena::Create(
      ipc::Region::Create("tpb-test-arena", region_size, region_size), {.offset = kPage, .size = size},
      {.rules = {.pool_bytes = 0, .growth_bytes = kPage, .release_after_seconds = 0, .keep_heap = 0},
       .line = nullptr,
       .budget = nullptr});
}

void Write(ipc::Block& block, std::string_view bytes) {
  if (bytes.size() > block.size()) {
    throw py::value_error("more bytes than the block has");
  }
  std::memcpy(block.data(), bytes.data(), bytes.size());
}

py::bytes Read(const ipc::Block& block) {
  return {reinterpret_cast<const char*>(block.data()), static_cast<std::size_t>(block.size())};
}

// Both ends of a ring over one region, and the arena that the producer's bodies lie in.
class Ring {
 public:
  // `start`: how many messages seem to have gone through already.
  Ring(std::uint32_t capacity, std::uint64_t arena_size, std::uint32_t start)
      : arena_at_((ipc::RingBytes(capacity) + kPage - 1) / kPage * kPage),
        region_(ipc::Region::Create("tpb-test-ring", arena_at_ + arena_size, arena_at_ + arena_size)),
        arena_(ipc::Arena::Create(region_, {.offset = arena_at_, .size = arena_size})),
        producer_(region_->data(), capacity, -1),
        consumer_(region_->data(), capacity) {
    StartAt(region_->data(), producer_, consumer_, start);
  }

  bool Push(std::uint64_t id, std::string_view body) {
    ipc::Slot slot{};
    slot.id = id;
    auto blocks = ipc::PutBody(*arena_, std::as_bytes(std::span(body)), slot);
    return producer_.TryPush(slot, blocks);
  }

  // The oldest message as (id, body), or None.
  py::object Peek() {
    const auto slot = consumer_.Peek();
    if (!slot) {
      return py::none();
    }
    const auto* body = reinterpret_cast<const char*>(arena_->data() + slot->offset);
    return py::make_tuple(slot->id, py::bytes(body, static_cast<std::size_t>(slot->size)));
  }

  void Advance() { consumer_.Advance(); }
  void Reclaim() { producer_.Reclaim(); }
  [[nodiscard]] std::uint64_t Pushed() const { return producer_.pushed(); }
  [[nodiscard]] std::uint64_t BytesInUse() const { return arena_->BytesInUse(); }

  void SetTail(std::uint32_t tail) { Control().producer.tail = tail; }
  void SetHead(std::uint32_t head) { Control().consumer.head = head; }

 private:
  [[nodiscard]] ipc::RingControl& Control() const {
    return *reinterpret_cast<ipc::RingControl*>(region_->data());
  }

  std::uint64_t arena_at_;
  std::shared_ptr<ipc::Region> region_;
  std::shared_ptr<ipc::Arena> arena_;
  ipc::RingProducer producer_;
  ipc::RingConsumer consumer_;
};

}  // namespace
}  // namespace tpb::testing

PYBIND11_MODULE(_ipc_testing, module) {
  using tpb::ipc::Arena;
  using tpb::ipc::Block;
  using tpb::testing::Ring;

  const auto error = py::register_exception<tpb::ipc::Error>(module, "Error");
  py::register_exception<tpb::ipc::ProtocolError>(module, "ProtocolError", error);

  py::class_<Block>(module, "Block")
      .def_property_readonly("offset", &Block::offset)
      .def_property_readonly("size", &Block::size)
      .def("write", &tpb::testing::Write)
      .def("read", &tpb::testing::Read)
      .def("free", &Block::Reset);

  py::class_<Arena, std::shared_ptr<Arena>>(module, "Arena")
      .def(py::init(&tpb::testing::CreateArena), py::arg("size"))
      .def("allocate", &Arena::Allocate, py::arg("size"))
      .def("give_back", [](Arena& arena) { return !arena.GiveBack(); })
      .def_property_readonly("resident_bytes", &Arena::ResidentBytes)
      .def_property_readonly("pool_bytes", [](const Arena& arena) { return arena.usage().pool; })
      .def_property_readonly("size", &Arena::size)
      .def_property_readonly("bytes_in_use", &Arena::BytesInUse);

  py::class_<Ring>(module, "Ring")
      .def(py::init<std::uint32_t, std::uint64_t, std::uint32_t>(), py::kw_only(), py::arg("capacity"),
           py::arg("arena_size"), py::arg("start"))
      .def("push", &Ring::Push, py::arg("id"), py::arg("body"))
      .def("peek", &Ring::Peek)
      .def("advance", &Ring::Advance)
      .def("reclaim", &Ring::Reclaim)
      .def("set_tail", &Ring::SetTail)
      .def("set_head", &Ring::SetHead)
      .def_property_readonly("pushed", &Ring::Pushed)
      .def_property_readonly("bytes_in_use", &Ring::BytesInUse);

  module.attr("ALIGNMENT") = tpb::ipc::kAlignment;
  module.attr("MAX_DIMS") = tpb::ipc::kMaxDims;
  tpb::testing::BindMessages(module);
}
