#include "stub/tensor.h"

#include <utility>

#include "ipc/error.h"
#include "stub/bytes.h"
#include "stub/numpy.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;
using ipc::Code;
using ipc::DataType;

// Below this a copy costs less than a lease that outlives its request.
constexpr std::size_t kCopyBelow = std::size_t{16} << 10;

const py::array& AsArray(const py::object& object) { return static_cast<const py::array&>(object); }

std::vector<std::int64_t> ShapeOf(const py::array& array) {
  return {array.shape(), array.shape() + array.ndim()};
}

}  // namespace

void Tensor::CheckName(const std::string& name) {
  if (name.empty()) {
    throw ipc::Error(Code::kInvalidArg, "Tensor name cannot be an empty string.");
  }
}

Tensor::Tensor(std::string name, py::array array) : name_(std::move(name)) {
  CheckName(name_);
  DataTypeOf(array);  // throws for one that the server has not
  array_ = Contiguous(std::move(array));
}

Tensor::Tensor(const ipc::Tensor& wire, std::shared_ptr<Lease> lease)
    : name_(wire.name),
      dtype_(wire.dtype),
      memory_type_(wire.memory_type),
      shape_(wire.shape.begin(), wire.shape.end()),
      bytes_(lease ? lease->Part(wire.offset, wire.size) : std::span<std::byte>()),
      lease_(std::move(lease)) {
  const auto expected = ipc::ByteSize(dtype_, shape_);
  if (!expected) {
    throw ipc::ProtocolError("input '" + name_ + "' has an impossible shape");
  }
  if (wire.size != bytes_.size() || (dtype_ != DataType::kBytes && wire.size != *expected)) {
    throw ipc::ProtocolError("input '" + name_ + "' has " + std::to_string(wire.size) + " bytes");
  }
  if (lease_ && lease_->Crowded()) {
    LeaveBlock();
  }
}

Tensor::Tensor(std::string name, SharedArray array)
    : name_(std::move(name)),
      dtype_(array.dtype),
      shape_(std::move(array.shape)),
      bytes_(array.bytes),
      owner_(std::move(array.owner)),
      read_only_(array.read_only),
      in_place_(true) {}

DataType Tensor::dtype() const { return array_ ? DataTypeOf(AsArray(array_)) : dtype_; }

std::vector<std::int64_t> Tensor::Shape() const { return array_ ? ShapeOf(AsArray(array_)) : shape_; }

py::array Tensor::AsNumpy() {
  if (!array_) {
    MakeArray();
  }
  return AsArray(array_);
}

void Tensor::CheckCpu(const char* wanted) const {
  if (!is_cpu()) {
    throw ipc::Error(Code::kUnsupported,
                     std::string("Tensor is stored in GPU and cannot be converted to ") + wanted + ".");
  }
}

void Tensor::MakeArray() {
  CheckCpu("NumPy");
  if (dtype_ == DataType::kBf16) {
    throw ipc::Error(
        Code::kUnsupported,
        "Tensor dtype is BF16 and cannot be converted to NumPy. Use to_dlpack() and from_dlpack() "
        "instead.");
  }
  if (dtype_ == DataType::kBytes) {
    array_ = DecodeBytes(bytes_, shape_);
  } else if (owner_) {
    array_ = ViewAsArray(dtype_, shape_, bytes_, owner_, read_only_);
  } else if (bytes_.empty() || lent_ || (!in_place_ && (bytes_.size() < kCopyBelow || lease_->Crowded()))) {
    array_ = CopyAsArray(dtype_, shape_, bytes_);
  } else {
    array_ = ViewAsArray(dtype_, shape_, bytes_, lease_);
  }
  lease_.reset();
  owner_.reset();
}

SharedArray Tensor::AsSharedArray() {
  if (lent_) {
    AsNumpy();
  }
  if (array_) {
    // As in Contents: a model may have changed its strides.
    const py::array array = Contiguous(AsArray(array_));
    return {.dtype = DataTypeOf(array),
            .shape = ShapeOf(array),
            .bytes = {static_cast<std::byte*>(const_cast<void*>(array.data())),
                      static_cast<std::size_t>(array.nbytes())},
            .read_only = !array.writeable(),
            .copy = array.is(array_) ? py::object() : py::object(array)};
  }
  CheckCpu("DLPack");
  in_place_ = true;
  return {.dtype = dtype_, .shape = shape_, .bytes = bytes_, .read_only = read_only_, .owner = owner_};
}

Payload Tensor::EncodedContents(const py::array& array) const {
  Payload payload{.dtype = DataType::kBytes, .shape = ShapeOf(array)};
  try {
    auto encoded = EncodeBytes(array);
    payload.bytes = encoded->bytes();
    payload.owner = std::move(encoded);
  } catch (const ipc::Error& error) {
    throw ipc::Error(error.code(), "Tensor '" + name_ + "': " + error.message());
  }
  return payload;
}

// Types that NumPy does not know stay: few models keep tensors without looking at them.
void Tensor::LeaveBlock() {
  if (is_cpu() && ipc::ElementSize(dtype_) != 0 && dtype_ != DataType::kBf16) {
    array_ = CopyAsArray(dtype_, shape_, bytes_);
    lease_.reset();
  }
}

Payload Tensor::Contents() const {
  if (!array_) {
    return {.dtype = dtype_, .shape = shape_, .bytes = bytes_, .lease = lease_, .owner = owner_};
  }
  // Looked at now and not when the tensor was made: a model may have changed the array's shape or type in
  // place.
  const py::array array = Contiguous(AsArray(array_));
  const DataType dtype = DataTypeOf(array);
  if (dtype == DataType::kBytes) {
    return EncodedContents(array);
  }
  return {.dtype = dtype,
          .shape = ShapeOf(array),
          .bytes = {static_cast<const std::byte*>(array.data()), static_cast<std::size_t>(array.nbytes())},
          .lease = LeaseOf(array),
          .array = array};
}

std::optional<Payload> Tensor::Lend(const LeaseBook& book) {
  // BF16 has no array that could be a copy.
  if (array_ || in_place_ || !lease_ || !lease_->BelongsTo(book) || dtype_ == DataType::kBf16) {
    return std::nullopt;
  }
  lent_ = true;
  return Contents();
}

}  // namespace tpb::stub
