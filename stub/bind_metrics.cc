#include <pybind11/stl.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ipc/error.h"
#include "stub/bindings.h"
#include "stub/metrics.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;
using ipc::Code;
using ipc::Error;
using ipc::MetricKind;

bool IsText(py::handle object) {
  return PyUnicode_Check(object.ptr()) != 0 || PyBytes_Check(object.ptr()) != 0;
}

// As JSON has them, which labels always were for models: None, numbers and truth values become texts.
std::string LabelName(py::handle key) {
  if (IsText(key)) {
    return key.cast<std::string>();
  }
  if (!key.is_none() && PyLong_Check(key.ptr()) == 0 && PyFloat_Check(key.ptr()) == 0) {
    throw py::type_error("the name of a label must be str, int, float, bool or None, not " +
                         std::string(Py_TYPE(key.ptr())->tp_name));
  }
  return py::module_::import("json").attr("dumps")(key).cast<std::string>();
}

std::map<std::string, std::string> ReadLabels(const MetricFamily& family, const py::object& labels) {
  std::map<std::string, std::string> read;
  if (labels.is_none()) {
    return read;
  }
  if (!py::isinstance<py::dict>(labels)) {
    throw Error(Code::kInvalidArg, "Failed to create metric. Labels must be a dictionary.");
  }
  for (const auto& [name, value] : py::reinterpret_borrow<py::dict>(labels)) {
    if (!IsText(value)) {
      throw family.Refusal("attempt to access JSON non-string as string");
    }
    read.insert_or_assign(LabelName(name), value.cast<std::string>());
  }
  return read;
}

std::vector<double> ReadBuckets(const MetricFamily& family, const py::object& buckets) {
  const bool histogram = family.kind() == MetricKind::kHistogram;
  if (buckets.is_none()) {
    if (histogram) {
      throw Error(Code::kInvalidArg, "Failed to create metric. Missing required buckets.");
    }
    return {};
  }
  if (!py::isinstance<py::list>(buckets)) {
    throw Error(Code::kInvalidArg, "Failed to create metric. Buckets must be a list.");
  }
  if (!histogram) {
    throw Error(Code::kInvalidArg, "Failed to create metric. Unexpected buckets found.");
  }
  return buckets.cast<std::vector<double>>();
}

std::unique_ptr<Metric> NewMetric(const MetricFamily& family, const py::object& labels,
                                  const py::object& buckets) {
  const auto names_and_values = ReadLabels(family, labels);
  return family.NewMetric(names_and_values, ReadBuckets(family, buckets));
}

}  // namespace

void BindMetrics(py::module_& module) {
  constexpr std::pair<const char*, MetricKind> kKinds[] = {{"COUNTER", MetricKind::kCounter},
                                                           {"GAUGE", MetricKind::kGauge},
                                                           {"HISTOGRAM", MetricKind::kHistogram}};
  py::enum_<MetricKind> kinds(module, "MetricKind");
  py::class_<MetricFamily> family(module, "MetricFamily");
  for (const auto& [name, kind] : kKinds) {
    kinds.value(name, kind);
    family.def_property_readonly_static(name, [kind = kind](const py::object& /*type*/) { return kind; });
  }
  kinds.export_values();

  py::class_<Metric>(module, "Metric")
      .def("increment", &Metric::Increment)
      .def("set", &Metric::Set)
      .def("observe", &Metric::Observe)
      .def("value", &Metric::Value);
  family
      .def(py::init<const std::string&, const std::string&, MetricKind>(), py::arg("name"),
           py::arg("description"), py::arg("kind"))
      .def("Metric", &NewMetric, py::arg("labels") = py::none(), py::arg("buckets") = py::none());
}

}  // namespace tpb::stub
