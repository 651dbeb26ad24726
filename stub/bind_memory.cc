#include <cstdint>

#include "ipc/error.h"
#include "stub/bindings.h"
#include "stub/connection.h"
#include "stub/preferred_memory.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;

// What `c_python_backend_utils.shared_memory` is an instance of: looks at the memory for what this process
// sends.
struct SharedMemory {
  static std::uint64_t FreeMemory() {
    const auto connection = Connection::Inherited();
    if (!connection || connection->InForkedChild()) {
      throw ipc::Error(ipc::Code::kUnavailable,
                       "free_memory works in a model that a server runs, on any of its threads");
    }
    auto& channel = connection->channel();
    connection->book()->Flush();
    channel.events().Reclaim();
    channel.replies().Reclaim();
    return channel.arena()->size() - channel.arena()->usage().used;
  }
};

}  // namespace

void BindMemory(py::module_& module) {
  py::enum_<MemoryPreference>(module, "MemoryType")
      .value("TRITONSERVER_MEMORY_GPU", MemoryPreference::kGpu)
      .value("TRITONSERVER_MEMORY_CPU", MemoryPreference::kCpu)
      .export_values();
  py::class_<PreferredMemory>(module, "PreferredMemory")
      .def(py::init<MemoryPreference, std::int64_t>(), py::arg("preferred_memory_type"),
           py::arg("preferred_device_id") = 0);
  py::class_<SharedMemory>(module, "SharedMemory").def("free_memory", [](const SharedMemory& /*self*/) {
    return SharedMemory::FreeMemory();
  });
  module.attr("shared_memory") = SharedMemory();
}

}  // namespace tpb::stub
