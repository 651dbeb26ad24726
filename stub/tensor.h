// pb_utils.Tensor: a name and either an array, or bytes of a request or of a DLPack producer that nobody has
// asked an array for yet.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ipc/dtype.h"
#include "ipc/messages.h"
#include "stub/dlpack.h"
#include "stub/lease.h"

namespace tpb::stub {

// What a tensor holds at one moment. `lease`, `array` and `owner` keep the bytes alive.
struct Payload {
  ipc::DataType dtype = ipc::DataType::kInvalid;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes = {};
  std::shared_ptr<Lease> lease = nullptr;  // the block of the server that all of the bytes lie in, or null
  pybind11::object array = {};             // or null
  std::shared_ptr<const void> owner = nullptr;  // of encoded BYTES or of a producer's memory, or null
};

// Used and destroyed with the GIL held.
class Tensor {
 public:
  // Made by a model. The array is kept, not copied, unless it is not C-contiguous.
  Tensor(std::string name, pybind11::array array);

  // An input. Throws ProtocolError when it does not fit its block, or its shape does not fit its bytes.
  Tensor(const ipc::Tensor& wire, std::shared_ptr<Lease> lease);

  // Of a producer's memory, which is not copied.
  Tensor(std::string name, SharedArray array);

  // Throws Error for an empty one.
  static void CheckName(const std::string& name);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] bool is_cpu() const noexcept { return memory_type_ != ipc::MemoryType::kGpu; }
  [[nodiscard]] ipc::DataType dtype() const;
  [[nodiscard]] std::vector<std::int64_t> Shape() const;

  // The same array each time: small inputs are copied out of shared memory, so that a model may keep them for
  // free, large ones stay where they are.
  pybind11::array AsNumpy();

  // The same memory as that of the array, whichever is asked for first. Throws Error for BYTES.
  SharedArray AsSharedArray();

  // An array of objects is encoded here, so what it holds at this moment is what goes out. Throws what a
  // str() of an element raises, and Error.
  [[nodiscard]] Payload Contents() const;

  // The same for an input that nobody has asked for yet, when it lies in a block of `book`: nobody can change
  // it where it is from here on, because whoever asks later gets a copy. Nothing for any other tensor.
  std::optional<Payload> Lend(const LeaseBook& book);

 private:
  void CheckCpu(const char* wanted) const;
  void MakeArray();
  [[nodiscard]] Payload EncodedContents(const pybind11::array& array) const;
  void LeaveBlock();

  std::string name_;
  pybind11::object array_;  // a py::array, or null until somebody asks; then the rest is unused
  ipc::DataType dtype_ = ipc::DataType::kInvalid;
  ipc::MemoryType memory_type_ = ipc::MemoryType::kCpu;
  std::vector<std::int64_t> shape_;
  std::span<std::byte> bytes_;
  std::shared_ptr<Lease> lease_;
  std::shared_ptr<BorrowedArray> owner_;
  bool read_only_ = false;
  bool lent_ = false;      // somebody reads bytes_: an array has to be a copy of them
  bool in_place_ = false;  // others look at bytes_: an array has to be a view of them
};

}  // namespace tpb::stub
