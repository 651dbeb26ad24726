// pb_utils.Tensor: a name and either an array, or bytes of a request that nobody has asked an array for yet.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ipc/dtype.h"
#include "ipc/messages.h"
#include "stub/lease.h"

namespace tpb::stub {

// What a tensor holds at one moment. `lease` and `array` keep the bytes alive.
struct Payload {
  ipc::DataType dtype = ipc::DataType::kInvalid;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
  std::shared_ptr<Lease> lease;  // the block of the server that all of the bytes lie in, or null
  pybind11::object array;        // or null
};

// Used and destroyed with the GIL held.
class Tensor {
 public:
  // Made by a model. The array is kept, not copied, unless it is not C-contiguous.
  Tensor(std::string name, pybind11::array array);

  // An input. Throws ProtocolError when it does not fit its block, or its shape does not fit its bytes.
  Tensor(const ipc::Tensor& wire, std::shared_ptr<Lease> lease);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] bool is_cpu() const noexcept { return memory_type_ != ipc::MemoryType::kGpu; }
  [[nodiscard]] ipc::DataType dtype() const;
  [[nodiscard]] std::vector<std::int64_t> Shape() const;

  // The same array each time: small inputs are copied out of shared memory, so that a model may keep them for
  // free, large ones stay where they are.
  pybind11::array AsNumpy();

  [[nodiscard]] Payload Contents() const;

 private:
  void MakeArray();

  std::string name_;
  pybind11::object array_;  // a py::array, or null until somebody asks; then the rest is unused
  ipc::DataType dtype_ = ipc::DataType::kInvalid;
  ipc::MemoryType memory_type_ = ipc::MemoryType::kCpu;
  std::vector<std::int64_t> shape_;
  std::span<std::byte> bytes_;
  std::shared_ptr<Lease> lease_;
};

}  // namespace tpb::stub
