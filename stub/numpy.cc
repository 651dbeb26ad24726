#include "stub/numpy.h"

#include <array>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#include "ipc/error.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;
using ipc::DataType;

constexpr char kLeaseCapsule[] = "triton_python_backend.lease";
constexpr char kOwnerCapsule[] = "triton_python_backend.owner";

// By NumPy's type number. `long` has 64 bits wherever we run, as `long long` has.
constexpr std::array<DataType, 25> kFromNumpy = [] {
  std::array<DataType, 25> table{};
  table[0] = DataType::kBool;
  table[1] = DataType::kInt8;
  table[2] = DataType::kUint8;
  table[3] = DataType::kInt16;
  table[4] = DataType::kUint16;
  table[5] = DataType::kInt32;
  table[6] = DataType::kUint32;
  table[7] = table[9] = DataType::kInt64;
  table[8] = table[10] = DataType::kUint64;
  table[11] = DataType::kFp32;
  table[12] = DataType::kFp64;
  table[17] = table[18] = DataType::kBytes;  // object, S<n>
  table[23] = DataType::kFp16;
  return table;
}();

// NumPy's type number by DataType; -1 for those without a fixed-size NumPy type.
constexpr std::array<int, 15> kToNumpy{-1, 0, 2, 4, 6, 8, 1, 3, 5, 7, 23, 11, 12, -1, -1};

py::dtype NumpyType(DataType dtype) {
  const int number = kToNumpy.at(static_cast<std::size_t>(dtype));
  if (number < 0) {
    throw ipc::Error(ipc::Code::kUnsupported,
                     "NumPy has no type for " + std::string(ipc::DataTypeName(dtype)));
  }
  return py::dtype(number);
}

py::array::ShapeContainer ToNumpyShape(std::span<const std::int64_t> shape) {
  return std::vector<py::ssize_t>(shape.begin(), shape.end());
}

using Sharer = std::shared_ptr<void>;

Sharer* SharerIn(PyObject* capsule) {
  return static_cast<Sharer*>(PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule)));
}

void DropSharer(PyObject* capsule) { delete SharerIn(capsule); }

py::array View(DataType dtype, std::span<const std::int64_t> shape, std::span<std::byte> bytes, Sharer owner,
               const char* capsule_name) {
  auto sharer = std::make_unique<Sharer>(std::move(owner));
  const auto capsule =
      py::reinterpret_steal<py::object>(PyCapsule_New(sharer.get(), capsule_name, DropSharer));
  if (!capsule) {
    throw py::error_already_set();
  }
  std::ignore = sharer.release();  // the capsule's now
  return {NumpyType(dtype), ToNumpyShape(shape), bytes.data(), capsule};
}

}  // namespace

DataType DataTypeOf(const py::array& array) {
  const py::dtype dtype = array.dtype();
  const int number = dtype.num();
  const bool swapped = dtype.byteorder() == '>';
  const auto known = number >= 0 && static_cast<std::size_t>(number) < kFromNumpy.size() && !swapped
                         ? kFromNumpy[static_cast<std::size_t>(number)]
                         : DataType::kInvalid;
  if (known == DataType::kInvalid) {
    throw ipc::Error(ipc::Code::kInvalidArg, "NumPy dtype is not supported.");
  }
  return known;
}

py::array Contiguous(py::array array) {
  if ((array.flags() & py::array::c_style) != 0) {
    return array;
  }
  auto contiguous = py::array::ensure(array, py::array::c_style);
  if (!contiguous) {
    throw py::error_already_set();
  }
  return contiguous;
}

py::array CopyAsArray(DataType dtype, std::span<const std::int64_t> shape, std::span<const std::byte> bytes) {
  py::array array(NumpyType(dtype), ToNumpyShape(shape));
  if (!bytes.empty()) {
    std::memcpy(array.mutable_data(), bytes.data(), bytes.size());
  }
  return array;
}

py::array ViewAsArray(DataType dtype, std::span<const std::int64_t> shape, std::span<std::byte> bytes,
                      std::shared_ptr<Lease> lease) {
  return View(dtype, shape, bytes, std::move(lease), kLeaseCapsule);
}

py::array ViewAsArray(DataType dtype, std::span<const std::int64_t> shape, std::span<std::byte> bytes,
                      std::shared_ptr<void> owner, bool read_only) {
  py::array array = View(dtype, shape, bytes, std::move(owner), kOwnerCapsule);
  if (read_only) {
    py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  }
  return array;
}

std::shared_ptr<Lease> LeaseOf(const py::array& array) {
  py::object base = array.base();
  while (base && py::isinstance<py::array>(base)) {
    base = py::reinterpret_borrow<py::array>(base).base();
  }
  if (!base || PyCapsule_IsValid(base.ptr(), kLeaseCapsule) == 0) {
    return nullptr;
  }
  const auto lease = std::static_pointer_cast<Lease>(*SharerIn(base.ptr()));
  const auto* data = static_cast<const std::byte*>(array.data());
  const auto block = lease->bytes();
  const bool inside = data >= block.data() && data <= block.data() + block.size() &&
                      static_cast<std::size_t>(array.nbytes()) <=
                          static_cast<std::size_t>(block.data() + block.size() - data);
  return inside ? lease : nullptr;
}

}  // namespace tpb::stub
