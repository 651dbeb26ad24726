#include "stub/bytes.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "ipc/bytes.h"
#include "ipc/dtype.h"
#include "ipc/error.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;
using ipc::BytesLength;

// The first guess at what an element takes; the buffer grows when it was too small.
constexpr std::size_t kExpectedElement = 16;
constexpr int kNumpyObject = 17;  // NumPy's number of the type `object`

std::string_view Utf8(PyObject* text) {
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text, &size);
  if (data == nullptr) {
    throw py::error_already_set();
  }
  return {data, static_cast<std::size_t>(size)};
}

// Appends an element for which no code of the model has to run; false for any other.
bool AppendPlain(PyObject* element, EncodedBytes& encoded) {
  if (PyBytes_Check(element)) {
    encoded.Append(PyBytes_AS_STRING(element), static_cast<std::size_t>(PyBytes_GET_SIZE(element)));
    return true;
  }
  if (PyUnicode_CheckExact(element)) {
    const std::string_view text = Utf8(element);
    encoded.Append(text.data(), text.size());
    return true;
  }
  if (PyByteArray_Check(element)) {
    encoded.Append(PyByteArray_AS_STRING(element), static_cast<std::size_t>(PyByteArray_GET_SIZE(element)));
    return true;
  }
  return false;
}

// Not py::str, which takes an instance of a subclass as it is.
void AppendText(const py::object& element, EncodedBytes& encoded) {
  const auto text = py::reinterpret_steal<py::object>(PyObject_Str(element.ptr()));
  if (!text) {
    throw py::error_already_set();
  }
  const std::string_view utf8 = Utf8(text.ptr());
  encoded.Append(utf8.data(), utf8.size());
}

// An element of an object array; borrowed. NumPy takes a null for None, and may place them anywhere.
PyObject* ElementAt(const std::byte* elements, std::size_t index) {
  PyObject* element = nullptr;
  std::memcpy(static_cast<void*>(&element), elements + index * sizeof(PyObject*), sizeof(PyObject*));
  return element != nullptr ? element : Py_None;
}

void EncodeObjects(const py::array& array, EncodedBytes& encoded) {
  const auto* elements = static_cast<const std::byte*>(array.data());
  const auto count = static_cast<std::size_t>(array.size());
  std::size_t done = 0;
  while (done < count && AppendPlain(ElementAt(elements, done), encoded)) {
    ++done;
  }
  // A str() can run anything, in this thread or another: what is left is taken out of the array before.
  std::vector<py::object> rest;
  rest.reserve(count - done);
  for (std::size_t i = done; i < count; ++i) {
    rest.push_back(py::reinterpret_borrow<py::object>(ElementAt(elements, i)));
  }
  for (const py::object& element : rest) {
    if (!AppendPlain(element.ptr(), encoded)) {
      AppendText(element, encoded);
    }
  }
}

void EncodeFixedLength(const py::array& array, EncodedBytes& encoded) {
  const auto width = static_cast<std::size_t>(array.itemsize());
  const auto count = static_cast<std::size_t>(array.size());
  const auto* element = static_cast<const char*>(array.data());
  for (std::size_t i = 0; i < count; ++i, element += width) {
    std::size_t size = width;
    while (size > 0 && element[size - 1] == 0) {
      --size;
    }
    encoded.Append(element, size);
  }
}

[[noreturn]] void RefuseEncoding(const std::string& why) {
  throw ipc::Error(ipc::Code::kInternal, "Invalid bytes tensor data: " + why);
}

std::span<const std::byte> NextElement(ipc::BytesReader& reader) {
  const auto length = reader.NextLength();
  if (!length) {
    RefuseEncoding("incomplete length field");
  }
  if (*length > reader.left()) {
    RefuseEncoding("string extends beyond buffer");
  }
  return reader.Take(*length);
}

void Fill(std::span<PyObject*> elements, std::span<const std::byte> encoded) {
  ipc::BytesReader reader(encoded);
  for (PyObject*& element : elements) {
    const auto bytes = NextElement(reader);
    PyObject* const object = PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes.data()),
                                                       static_cast<Py_ssize_t>(bytes.size()));
    if (object == nullptr) {
      throw py::error_already_set();
    }
    Py_XDECREF(std::exchange(element, object));
  }
  if (reader.left() > 0) {
    RefuseEncoding("more strings than the " + std::to_string(elements.size()) + " of its shape");
  }
}

}  // namespace

EncodedBytes::EncodedBytes(std::size_t expected_size) { Reserve(std::max(expected_size, std::size_t{1})); }

void EncodedBytes::Reserve(std::size_t capacity) {
  void* const grown = std::realloc(data_.get(), capacity);
  if (grown == nullptr) {
    throw std::bad_alloc();
  }
  std::ignore = data_.release();  // realloc has given it back, or it is the same
  data_.reset(static_cast<std::byte*>(grown));
  capacity_ = capacity;
}

void EncodedBytes::Append(const void* element, std::size_t size) {
  if (size > std::numeric_limits<BytesLength>::max()) {
    throw ipc::Error(ipc::Code::kInvalidArg, "An element of a BYTES tensor has " + std::to_string(size) +
                                                 " bytes, it can have " +
                                                 std::to_string(std::numeric_limits<BytesLength>::max()) +
                                                 " at most: split it, or send it as a UINT8 tensor.");
  }
  const auto length = static_cast<BytesLength>(size);
  if (capacity_ - size_ < sizeof length + size) {
    Reserve(std::max(2 * capacity_, size_ + sizeof length + size));
  }
  std::memcpy(data_.get() + size_, &length, sizeof length);
  std::memcpy(data_.get() + size_ + sizeof length, element, size);
  size_ += sizeof length + size;
}

std::shared_ptr<const EncodedBytes> EncodeBytes(const py::array& array) {
  auto encoded = std::make_shared<EncodedBytes>(static_cast<std::size_t>(array.size()) *
                                                (sizeof(BytesLength) + kExpectedElement));
  if (array.dtype().kind() == 'O') {
    EncodeObjects(array, *encoded);
  } else {
    EncodeFixedLength(array, *encoded);
  }
  return encoded;
}

py::array DecodeBytes(std::span<const std::byte> encoded, std::span<const std::int64_t> shape) {
  const auto count = ipc::ElementCount(shape);
  if (!count || *count > encoded.size() / sizeof(BytesLength)) {
    RefuseEncoding("fewer strings than its shape has");
  }
  py::array array(py::dtype(kNumpyObject), std::vector<py::ssize_t>(shape.begin(), shape.end()));
  Fill({static_cast<PyObject**>(array.mutable_data()), static_cast<std::size_t>(*count)}, encoded);
  return array;
}

py::array DecodeBytes(std::span<const std::byte> encoded) {
  ipc::BytesReader reader(encoded);
  std::int64_t count = 0;
  for (; reader.left() > 0; ++count) {
    NextElement(reader);
  }
  return DecodeBytes(encoded, {&count, 1});
}

}  // namespace tpb::stub
