#include "stub/parameters.h"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <string_view>

#include "ipc/error.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;
using ipc::ParameterType;

std::string TypeText(py::handle object) { return py::str(py::type::of(object)); }

[[noreturn]] void RefuseParameter(const std::string& text) { throw ipc::Error(ipc::Code::kInvalidArg, text); }

std::int64_t ToInt64(const std::string& name, py::handle value) {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow != 0) {
    RefuseParameter("Parameter '" + name + "' does not fit in 64 bits");
  }
  if (number == -1 && PyErr_Occurred() != nullptr) {
    throw py::error_already_set();
  }
  return number;
}

ParameterValue ValueFromPython(const std::string& name, py::handle value) {
  if (py::isinstance<py::bool_>(value)) {
    return value.cast<bool>();
  }
  if (py::isinstance<py::int_>(value)) {
    return ToInt64(name, value);
  }
  if (py::isinstance<py::str>(value)) {
    return value.cast<std::string>();
  }
  RefuseParameter("Expect parameters values to have type bool/int/str, found type " + TypeText(value));
}

ParameterValue ValueFromWire(const ipc::Parameter& wire) {
  switch (wire.type) {
    case ParameterType::kBool:
      return wire.bits != 0;
    case ParameterType::kInt:
      return static_cast<std::int64_t>(wire.bits);
    case ParameterType::kDouble:
      return std::bit_cast<double>(wire.bits);
    case ParameterType::kString:
      break;
  }
  return std::string(wire.text);
}

void AppendJson(std::string_view text, std::string& json) {
  constexpr std::string_view kHex = "0123456789abcdef";
  json += '"';
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (code < 0x20) {
      json += "\\u00";
      json += kHex[code >> 4U];
      json += kHex[code & 0xfU];
    } else {
      json += c;
    }
  }
  json += '"';
}

// The shortest text that reads back as the same number, and reads as a floating-point one.
void AppendJson(double number, std::string& json) {
  if (!std::isfinite(number)) {
    json += std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
    return;
  }
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number).ptr;
  const std::string_view text(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  json += text;
  if (text.find_first_of(".e") == std::string_view::npos) {
    json += ".0";
  }
}

void AppendJson(const ParameterValue& value, std::string& json) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    AppendJson(std::string_view(*text), json);
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    json += *flag ? "true" : "false";
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    json += std::to_string(*integer);
  } else {
    AppendJson(std::get<double>(value), json);
  }
}

}  // namespace

Parameters ParametersFromPython(const py::object& dict) {
  Parameters parameters;
  if (dict.is_none()) {
    return parameters;
  }
  if (!py::isinstance<py::dict>(dict)) {
    RefuseParameter("Expect dict, got " + TypeText(dict));
  }
  for (const auto& [key, value] : py::reinterpret_borrow<py::dict>(dict)) {
    if (!py::isinstance<py::str>(key)) {
      RefuseParameter("Expect parameters keys to have type str, found type " + TypeText(key));
    }
    auto name = key.cast<std::string>();
    auto converted = ValueFromPython(name, value);
    parameters.emplace_back(std::move(name), std::move(converted));
  }
  return parameters;
}

Parameters ParametersFromWire(const std::vector<ipc::Parameter>& wire) {
  Parameters parameters;
  parameters.reserve(wire.size());
  for (const auto& parameter : wire) {
    parameters.emplace_back(parameter.name, ValueFromWire(parameter));
  }
  return parameters;
}

std::vector<ipc::Parameter> ParametersToWire(const Parameters& parameters) {
  std::vector<ipc::Parameter> wire;
  wire.reserve(parameters.size());
  for (const auto& [name, value] : parameters) {
    ipc::Parameter& parameter = wire.emplace_back();
    parameter.name = name;
    if (const auto* text = std::get_if<std::string>(&value)) {
      parameter.type = ParameterType::kString;
      parameter.text = *text;
    } else if (const auto* flag = std::get_if<bool>(&value)) {
      parameter.type = ParameterType::kBool;
      parameter.bits = *flag ? 1 : 0;
    } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
      parameter.type = ParameterType::kInt;
      parameter.bits = static_cast<std::uint64_t>(*integer);
    } else {
      parameter.type = ParameterType::kDouble;
      parameter.bits = std::bit_cast<std::uint64_t>(std::get<double>(value));
    }
  }
  return wire;
}

std::string CompactJson(const Parameters& parameters) {
  std::string json = "{";
  for (const auto& [name, value] : parameters) {
    if (json.size() > 1) {
      json += ',';
    }
    AppendJson(std::string_view(name), json);
    json += ':';
    AppendJson(value, json);
  }
  return json += '}';
}

std::string PythonJson(const Parameters& parameters) {
  if (parameters.empty()) {
    return "{}";
  }
  const py::dict dict;
  for (const auto& [name, value] : parameters) {
    dict[py::str(name)] = std::visit([](const auto& held) -> py::object { return py::cast(held); }, value);
  }
  return py::module_::import("json").attr("dumps")(dict).cast<std::string>();
}

}  // namespace tpb::stub
