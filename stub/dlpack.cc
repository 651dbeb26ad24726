#include "stub/dlpack.h"

#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "ipc/error.h"
#include "ipc/wire.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;
using ipc::DataType;

[[noreturn]] void RefuseTensor(ipc::Code code, const std::string& text) { throw ipc::Error(code, text); }

// --- types ---

struct TypeRow {
  DataType dtype;
  std::uint8_t code;
  std::uint8_t bits;
};

constexpr TypeRow kTypes[] = {
    {DataType::kBool, dlpack::kBool, 8},    {DataType::kUint8, dlpack::kUint, 8},
    {DataType::kUint16, dlpack::kUint, 16}, {DataType::kUint32, dlpack::kUint, 32},
    {DataType::kUint64, dlpack::kUint, 64}, {DataType::kInt8, dlpack::kInt, 8},
    {DataType::kInt16, dlpack::kInt, 16},   {DataType::kInt32, dlpack::kInt, 32},
    {DataType::kInt64, dlpack::kInt, 64},   {DataType::kFp16, dlpack::kFloat, 16},
    {DataType::kFp32, dlpack::kFloat, 32},  {DataType::kFp64, dlpack::kFloat, 64},
    {DataType::kBf16, dlpack::kBfloat, 16},
};

DataType FromElementType(const dlpack::ElementType& type) {
  if (type.lanes == 1) {
    for (const TypeRow& row : kTypes) {
      if (row.code == type.code && row.bits == type.bits) {
        return row.dtype;
      }
    }
    if (type.code == dlpack::kBfloat) {
      RefuseTensor(ipc::Code::kInvalidArg,
                   "Expected BF16 tensor to have 16 bits, but had: " + std::to_string(type.bits));
    }
  }
  RefuseTensor(ipc::Code::kInvalidArg, "Dtype is invalid.");
}

dlpack::ElementType ToElementType(DataType dtype) {
  for (const TypeRow& row : kTypes) {
    if (row.dtype == dtype) {
      return {.code = row.code, .bits = row.bits, .lanes = 1};
    }
  }
  RefuseTensor(ipc::Code::kUnsupported, "DLPack does not have support for string tensors.");
}

// --- consuming ---

[[noreturn]] void RefuseProducer() {
  RefuseTensor(
      ipc::Code::kInvalidArg,
      "Provided tensor is not supported. Tensor must be a DLPack capsule         or have `__dlpack__` and "
      "`__dlpack_device__` attributes");
}

void CheckDevice(std::int32_t type) {
  if (type == dlpack::kCuda) {
    RefuseTensor(ipc::Code::kUnsupported,
                 "DLPack capsule passed pointer to memory allocated on GPU device,           when GPU is not "
                 "available");
  }
  if (type != dlpack::kCpu && type != dlpack::kCudaHost) {
    RefuseTensor(ipc::Code::kUnsupported,
                 "DLDevice type " + std::to_string(type) + " is not support by Python backend.");
  }
}

// Without a version first: that works with every producer. One that cannot give an array in the old form, as
// NumPy cannot a read-only one, says so with a BufferError and is asked for the new form.
py::object AskProducer(const py::object& producer) {
  const py::object give = producer.attr("__dlpack__");
  try {
    return give();
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_BufferError)) {
      throw;
    }
    try {
      return give(py::arg("max_version") = py::make_tuple(dlpack::kMajor, 0));
    } catch (const py::error_already_set&) {
      throw error;  // it knows no versions: what it said first is what it means
    }
  }
}

py::object CapsuleOf(const py::object& producer) {
  if (PyCapsule_CheckExact(producer.ptr())) {
    return producer;
  }
  if (!py::hasattr(producer, "__dlpack__") || !py::hasattr(producer, "__dlpack_device__")) {
    RefuseProducer();
  }
  const py::object device = producer.attr("__dlpack_device__")();
  CheckDevice(device[py::int_(0)].cast<std::int32_t>());
  py::object capsule = AskProducer(producer);
  if (!PyCapsule_CheckExact(capsule.ptr())) {
    RefuseProducer();
  }
  return capsule;
}

// In C order, without gaps. Where a dimension of one element begins again says nothing.
bool IsContiguous(const dlpack::Array& array, std::span<const std::int64_t> shape, std::uint64_t count) {
  if (array.strides == nullptr || count == 0) {
    return true;
  }
  std::uint64_t expected = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1 && std::cmp_not_equal(array.strides[i], expected)) {
      return false;
    }
    expected *= static_cast<std::uint64_t>(shape[i]);
  }
  return true;
}

SharedArray Describe(const dlpack::Array& array) {
  SharedArray shared;
  if (array.dim_count > 0) {
    shared.shape.assign(array.shape, array.shape + array.dim_count);
  }
  const auto count = ipc::ElementCount(shared.shape);
  if (!count) {
    RefuseTensor(ipc::Code::kInvalidArg, "DLPack tensor has an impossible shape.");
  }
  if (!IsContiguous(array, shared.shape, *count)) {
    RefuseTensor(
        ipc::Code::kInvalidArg,
        "DLPack tensor is not contiguous. Only contiguous DLPack tensors that are stored in C-Order are "
        "supported.");
  }
  CheckDevice(array.device.type);
  shared.dtype = FromElementType(array.type);
  const auto size = ipc::ByteSize(shared.dtype, shared.shape);
  if (!size || (*size > 0 && array.data == nullptr)) {
    RefuseTensor(ipc::Code::kInvalidArg, "DLPack tensor has no memory for its shape.");
  }
  if (*size > 0) {
    shared.bytes = {static_cast<std::byte*>(array.data) + array.byte_offset, static_cast<std::size_t>(*size)};
  }
  return shared;
}

// From here on the array is ours to give back.
template <typename ManagedArray>
void Consume(const py::object& capsule, ManagedArray* managed, const char* used, SharedArray& shared) {
  if (PyCapsule_SetName(capsule.ptr(), used) != 0) {
    throw py::error_already_set();
  }
  shared.owner = std::make_shared<BorrowedArray>(managed);
}

// --- producing ---

// What a capsule of ours holds, until its consumer calls the deleter or nobody has consumed it.
struct Produced {
  dlpack::Managed managed{};
  std::vector<std::int64_t> shape;
  PyObject* owner = nullptr;  // a reference
  std::byte* copy = nullptr;
};

constexpr std::align_val_t kAlign{ipc::kAlignment};

// Any thread.
void EndProduced(dlpack::Managed* managed) {
  const auto* const produced = static_cast<const Produced*>(managed->context);
  ::operator delete(produced->copy, kAlign);
  if (produced->owner != nullptr && Py_IsInitialized() != 0) {
    const py::gil_scoped_acquire gil;
    Py_DECREF(produced->owner);
  }
  delete produced;
}

// Of a capsule; one that was consumed has another name, and its consumer ends what is in it.
void EndCapsule(PyObject* capsule) {
  if (PyCapsule_IsValid(capsule, dlpack::kFresh) != 0) {
    const py::error_scope error;
    EndProduced(static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule, dlpack::kFresh)));
  }
}

}  // namespace

BorrowedArray::~BorrowedArray() {
  if (birthplace_.InForkedChild()) {
    return;
  }
  const py::error_scope error;  // a deleter may be written in Python
  if (managed_ != nullptr && managed_->deleter != nullptr) {
    managed_->deleter(managed_);
  }
  if (versioned_ != nullptr && versioned_->deleter != nullptr) {
    versioned_->deleter(versioned_);
  }
}

SharedArray FromDlpack(const py::object& producer) {
  const py::object capsule = CapsuleOf(producer);
  if (PyCapsule_IsValid(capsule.ptr(), dlpack::kFresh) != 0) {
    auto* const managed = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kFresh));
    SharedArray shared = Describe(managed->array);
    Consume(capsule, managed, dlpack::kUsed, shared);
    return shared;
  }
  if (PyCapsule_IsValid(capsule.ptr(), dlpack::kFreshVersioned) != 0) {
    auto* const managed =
        static_cast<dlpack::ManagedVersioned*>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kFreshVersioned));
    if (managed->version.major != dlpack::kMajor) {
      RefuseTensor(ipc::Code::kUnsupported, "DLPack capsule has version " +
                                                std::to_string(managed->version.major) +
                                                ", the Python backend reads version 1 and earlier.");
    }
    SharedArray shared = Describe(managed->array);
    shared.read_only = (managed->flags & dlpack::kReadOnly) != 0;
    Consume(capsule, managed, dlpack::kUsedVersioned, shared);
    return shared;
  }
  const char* const name = PyCapsule_GetName(capsule.ptr());
  if (name != nullptr && std::string_view(name).starts_with("used_dl")) {
    RefuseTensor(
        ipc::Code::kInvalidArg,
        "DLPack capsule has been used already, and each can be used only once. Get another one from its "
        "producer, or pass the producer itself.");
  }
  RefuseProducer();
}

py::object ToDlpack(const SharedArray& array, const py::object& owner, bool copy) {
  auto produced = std::make_unique<Produced>();
  produced->shape = array.shape;
  produced->managed = {.array = {.data = array.bytes.data(),
                                 .device = {.type = dlpack::kCpu, .id = 0},
                                 .dim_count = static_cast<std::int32_t>(array.shape.size()),
                                 .type = ToElementType(array.dtype),
                                 .shape = produced->shape.data(),
                                 .strides = nullptr,
                                 .byte_offset = 0},
                       .context = produced.get(),
                       .deleter = EndProduced};
  auto capsule =
      py::reinterpret_steal<py::object>(PyCapsule_New(&produced->managed, dlpack::kFresh, EndCapsule));
  if (!capsule) {
    throw py::error_already_set();
  }
  Produced& held = *produced.release();  // the capsule's now
  if (copy && !array.bytes.empty()) {
    held.copy = static_cast<std::byte*>(::operator new(array.bytes.size(), kAlign));
    std::memcpy(held.copy, array.bytes.data(), array.bytes.size());
    held.managed.array.data = held.copy;
  } else {
    held.owner = owner.inc_ref().ptr();
  }
  return capsule;
}

}  // namespace tpb::stub
