// Between the server's data types and NumPy's, and between bytes and arrays.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "ipc/dtype.h"
#include "stub/lease.h"

namespace tpb::stub {

// The type of an array's elements; kBytes for `object` and `S<n>`. Throws Error for any other that the server
// has not.
ipc::DataType DataTypeOf(const pybind11::array& array);

// Itself when it is C-contiguous, else a copy that is.
pybind11::array Contiguous(pybind11::array array);

// A fresh array with a copy of `bytes`, which must be as many as `dtype` and `shape` say.
pybind11::array CopyAsArray(ipc::DataType dtype, std::span<const std::int64_t> shape,
                            std::span<const std::byte> bytes);

// A writable array of `bytes` in place; `lease` lives as long as the array and whatever is derived from it.
pybind11::array ViewAsArray(ipc::DataType dtype, std::span<const std::int64_t> shape,
                            std::span<std::byte> bytes, std::shared_ptr<Lease> lease);

// An array of somebody else's memory; `owner` lives as long as the array and whatever is derived from it.
pybind11::array ViewAsArray(ipc::DataType dtype, std::span<const std::int64_t> shape,
                            std::span<std::byte> bytes, std::shared_ptr<void> owner, bool read_only);

// The lease in whose block all of a C-contiguous array lies, or null: for arrays made by ViewAsArray, their
// reshapes and their contiguous slices.
std::shared_ptr<Lease> LeaseOf(const pybind11::array& array);

}  // namespace tpb::stub
