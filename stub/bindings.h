// The Python names of this module, a file for each public type or group of functions.
#pragma once

#include <pybind11/pybind11.h>

namespace tpb::stub {

void BindErrors(pybind11::module_& module);
void BindTensor(pybind11::module_& module);
void BindRequest(pybind11::module_& module);
void BindResponseSender(pybind11::module_& module);
void BindBls(pybind11::module_& module);
void BindResponse(pybind11::module_& module);
void BindBytes(pybind11::module_& module);
void BindLogger(pybind11::module_& module);
void BindMemory(pybind11::module_& module);
void BindMetrics(pybind11::module_& module);
void BindModelControl(pybind11::module_& module);
void BindAttachment(pybind11::module_& module);

}  // namespace tpb::stub
