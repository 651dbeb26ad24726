#include "stub/tensor.h"

#include <utility>

#include "ipc/error.h"
#include "stub/numpy.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;
using ipc::Code;
using ipc::DataType;

// Below this a copy costs less than a lease that outlives its request.
constexpr std::size_t kCopyBelow = std::size_t{16} << 10;

std::string BytesNotSupported(const std::string& name) {
  return "Tensor '" + name + "': BYTES tensors are not supported by this version of triton-python-backend.";
}

// The bytes that a tensor of a fixed-size type takes. Throws when no memory could hold it.
std::uint64_t BytesOf(const ipc::Tensor& tensor) {
  std::uint64_t size = ipc::ElementSize(tensor.dtype);
  for (const std::int64_t dim : tensor.shape) {
    if (dim < 0 || __builtin_mul_overflow(size, static_cast<std::uint64_t>(dim), &size)) {
      throw ipc::ProtocolError("input '" + std::string(tensor.name) + "' has an impossible shape");
    }
  }
  return size;
}

const py::array& AsArray(const py::object& object) { return static_cast<const py::array&>(object); }

std::vector<std::int64_t> ShapeOf(const py::array& array) {
  return {array.shape(), array.shape() + array.ndim()};
}

}  // namespace

Tensor::Tensor(std::string name, py::array array) : name_(std::move(name)) {
  if (name_.empty()) {
    throw ipc::Error(Code::kInvalidArg, "Tensor name cannot be an empty string.");
  }
  if (DataTypeOf(array) == DataType::kBytes) {
    throw ipc::Error(Code::kUnsupported, BytesNotSupported(name_));
  }
  array_ = Contiguous(std::move(array));
}

Tensor::Tensor(const ipc::Tensor& wire, std::shared_ptr<Lease> lease)
    : name_(wire.name),
      dtype_(wire.dtype),
      memory_type_(wire.memory_type),
      shape_(wire.shape.begin(), wire.shape.end()),
      bytes_(lease ? lease->Part(wire.offset, wire.size) : std::span<std::byte>()),
      lease_(std::move(lease)) {
  const std::uint64_t expected = BytesOf(wire);
  if (wire.size != bytes_.size() || (dtype_ != DataType::kBytes && wire.size != expected)) {
    throw ipc::ProtocolError("input '" + name_ + "' has " + std::to_string(wire.size) + " bytes");
  }
}

DataType Tensor::dtype() const { return array_ ? DataTypeOf(AsArray(array_)) : dtype_; }

std::vector<std::int64_t> Tensor::Shape() const { return array_ ? ShapeOf(AsArray(array_)) : shape_; }

py::array Tensor::AsNumpy() {
  if (!array_) {
    MakeArray();
  }
  return AsArray(array_);
}

void Tensor::MakeArray() {
  if (!is_cpu()) {
    throw ipc::Error(Code::kUnsupported, "Tensor is stored in GPU and cannot be converted to NumPy.");
  }
  if (dtype_ == DataType::kBf16) {
    throw ipc::Error(
        Code::kUnsupported,
        "Tensor dtype is BF16 and cannot be converted to NumPy. Use to_dlpack() and from_dlpack() "
        "instead.");
  }
  if (dtype_ == DataType::kBytes) {
    throw ipc::Error(Code::kUnsupported, BytesNotSupported(name_));
  }
  array_ = bytes_.size() < kCopyBelow ? CopyAsArray(dtype_, shape_, bytes_)
                                      : ViewAsArray(dtype_, shape_, bytes_, lease_);
  lease_.reset();
}

Payload Tensor::Contents() const {
  if (!array_) {
    return {.dtype = dtype_, .shape = shape_, .bytes = bytes_, .lease = lease_, .array = {}};
  }
  // Looked at now and not when the tensor was made: a model may have changed the array's shape or type in
  // place.
  const py::array array = Contiguous(AsArray(array_));
  return {.dtype = DataTypeOf(array),
          .shape = ShapeOf(array),
          .bytes = {static_cast<const std::byte*>(array.data()), static_cast<std::size_t>(array.nbytes())},
          .lease = LeaseOf(array),
          .array = array};
}

}  // namespace tpb::stub
