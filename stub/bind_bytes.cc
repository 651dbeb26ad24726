#include <pybind11/numpy.h>

#include <cstddef>
#include <span>

#include "ipc/error.h"
#include "stub/bindings.h"
#include "stub/bytes.h"
#include "stub/numpy.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;

// The plain bytes of a Python object.
class Buffer {
 public:
  explicit Buffer(const py::object& object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) {
      throw py::error_already_set();
    }
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer(Buffer&&) = delete;
  Buffer& operator=(Buffer&&) = delete;
  ~Buffer() { PyBuffer_Release(&view_); }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return {static_cast<const std::byte*>(view_.buf), static_cast<std::size_t>(view_.len)};
  }

 private:
  Py_buffer view_{};
};

// Both stand in for functions written in Python, and raise what those raise.

py::bytes Encode(const py::array& array) {
  try {
    const auto encoded = EncodeBytes(Contiguous(array));
    const auto bytes = encoded->bytes();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  } catch (const ipc::Error& error) {
    throw py::value_error(error.message());
  }
}

py::array Decode(const py::object& encoded) {
  const Buffer buffer(encoded);
  try {
    return DecodeBytes(buffer.bytes());
  } catch (const ipc::Error& error) {
    throw py::value_error(error.message());
  }
}

}  // namespace

void BindBytes(py::module_& module) {
  module.def("encode_bytes", &Encode);
  module.def("decode_bytes", &Decode);
}

}  // namespace tpb::stub
