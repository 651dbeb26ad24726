// Arrays of other libraries (torch, NumPy, CuPy, ...) without a copy, by the DLPack protocol: theirs as our
// tensors, and ours as theirs.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ipc/dtype.h"
#include "stub/dlpack_abi.h"
#include "stub/fork.h"

namespace tpb::stub {

// A producer's array that we have consumed. It goes back to the producer when this ends, but in a forked
// child: there it is still the parent's. With the GIL held.
class BorrowedArray {
 public:
  explicit BorrowedArray(dlpack::Managed* managed) noexcept : managed_(managed) {}
  explicit BorrowedArray(dlpack::ManagedVersioned* managed) noexcept : versioned_(managed) {}
  BorrowedArray(const BorrowedArray&) = delete;
  BorrowedArray& operator=(const BorrowedArray&) = delete;
  BorrowedArray(BorrowedArray&&) = delete;
  BorrowedArray& operator=(BorrowedArray&&) = delete;
  ~BorrowedArray();

 private:
  const Birthplace birthplace_;
  dlpack::Managed* const managed_ = nullptr;
  dlpack::ManagedVersioned* const versioned_ = nullptr;
};

// Elements side by side in C order, as somebody else may see them.
struct SharedArray {
  ipc::DataType dtype = ipc::DataType::kInvalid;
  std::vector<std::int64_t> shape;
  std::span<std::byte> bytes;
  bool read_only = false;
  std::shared_ptr<BorrowedArray> owner =
      nullptr;                 // of a producer's bytes: shared by the tensor and its arrays
  pybind11::object copy = {};  // whose bytes they are when they are not the tensor's own
};

// Consumes `producer`, which is a capsule or has __dlpack__ and __dlpack_device__. Throws Error for an array
// that is no tensor of ours; its capsule then is as before.
SharedArray FromDlpack(const pybind11::object& producer);

// A capsule of `array`, which keeps alive the object whose bytes they are. Where `copy` is set, it has a copy
// instead.
pybind11::object ToDlpack(const SharedArray& array, const pybind11::object& owner, bool copy);

}  // namespace tpb::stub
