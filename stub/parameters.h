// Parameters of requests and responses: typed values on the wire, JSON text for models.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "ipc/messages.h"

namespace tpb::stub {

using ParameterValue = std::variant<bool, std::int64_t, double, std::string>;
using Parameters = std::vector<std::pair<std::string, ParameterValue>>;

// From a model: None or a dict of bool, int and str. Throws Error for anything else.
Parameters ParametersFromPython(const pybind11::object& dict);

Parameters ParametersFromWire(const std::vector<ipc::Parameter>& wire);

// Views into `parameters`.
std::vector<ipc::Parameter> ParametersToWire(const Parameters& parameters);

// Without spaces, as for requests from the server.
std::string CompactJson(const Parameters& parameters);

// As Python's json.dumps writes it, for what a model made.
std::string PythonJson(const Parameters& parameters);

}  // namespace tpb::stub
