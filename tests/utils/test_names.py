"""The names that models import: what `triton_python_backend_utils` and `c_python_backend_utils` have."""

from __future__ import annotations

import importlib
import json
import struct

import numpy as np
import pytest

import triton_python_backend_utils as pb_utils

# Importable once that is imported.
native = importlib.import_module("c_python_backend_utils")

PURE = [
    "TRITON_STRING_TO_NUMPY",
    "ModelConfig",
    "deserialize_bytes_tensor",
    "get_input_config_by_name",
    "get_input_tensor_by_name",
    "get_output_config_by_name",
    "get_output_tensor_by_name",
    "numpy_to_triton_type",
    "serialize_byte_tensor",
    "triton_string_to_numpy",
    "triton_to_numpy_type",
    "using_decoupled_model_transaction_policy",
]
NATIVE = [
    "TRITONSERVER_MEMORY_CPU",
    "TRITONSERVER_MEMORY_GPU",
    "InferenceRequest",
    "InferenceResponse",
    "Logger",
    "MetricFamily",
    "PreferredMemory",
    "Tensor",
    "TritonError",
    "TritonModelException",
    "get_model_dir",
    "is_model_ready",
    "load_model",
    "unload_model",
]
# What models get from a call and need not name, save for checks of types.
ONLY_NATIVE = [
    "COUNTER",
    "GAUGE",
    "HISTOGRAM",
    "InferenceResponseSender",
    "InferenceTrace",
    "MemoryType",
    "Metric",
    "MetricKind",
    "ResponseIterator",
    "SharedMemory",
    "shared_memory",
]


@pytest.mark.parametrize("name", PURE + NATIVE)
def test_models_find_it(name: str) -> None:
    assert hasattr(pb_utils, name)


@pytest.mark.parametrize("name", ONLY_NATIVE)
def test_only_the_native_module_has_it(name: str) -> None:
    assert hasattr(native, name)
    assert not hasattr(pb_utils, name)


def test_modules_that_models_reach_through_it_are_those() -> None:
    assert pb_utils.np is np
    assert pb_utils.json is json
    assert pb_utils.struct is struct


@pytest.mark.parametrize(
    "name",
    [one for one in NATIVE + ONLY_NATIVE if isinstance(getattr(native, one, None), type)],
)
def test_native_class_names_its_module(name: str) -> None:
    found = getattr(native, name)

    assert (found.__module__, found.__qualname__) == ("c_python_backend_utils", name)
    assert getattr(pb_utils, name, found) is found


@pytest.mark.parametrize("name", ["InferenceResponseSender", "InferenceTrace", "ResponseIterator", "Metric"])
def test_what_only_calls_give_cannot_be_made(name: str) -> None:
    with pytest.raises(TypeError, match=r"No constructor defined!|incompatible constructor arguments"):
        getattr(native, name)()


def test_flags_are_those_of_the_server() -> None:
    assert pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START == 1
    assert pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END == 2
    assert pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL == 1
    assert pb_utils.TRITONSERVER_REQUEST_RELEASE_ALL == 1
    assert pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE == 2


def test_kinds_of_metrics_have_the_numbers_of_the_server() -> None:
    family = pb_utils.MetricFamily

    assert [int(kind) for kind in (family.COUNTER, family.GAUGE, family.HISTOGRAM)] == [0, 1, 2]
    assert native.MetricKind.GAUGE == native.GAUGE == family.GAUGE


def test_memory_that_a_model_prefers_has_one_of_two_types() -> None:
    assert (int(pb_utils.TRITONSERVER_MEMORY_GPU), int(pb_utils.TRITONSERVER_MEMORY_CPU)) == (0, 1)
    assert native.MemoryType.TRITONSERVER_MEMORY_CPU == pb_utils.TRITONSERVER_MEMORY_CPU
    pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_GPU)
    pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 1)
    pb_utils.PreferredMemory(preferred_memory_type=pb_utils.TRITONSERVER_MEMORY_CPU, preferred_device_id=1)


@pytest.mark.parametrize("arguments", [(), (1,), (None,), ("CPU",), (pb_utils.TRITONSERVER_MEMORY_CPU, None)])
def test_memory_of_another_type_is_refused(arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        pb_utils.PreferredMemory(*arguments)  # type: ignore[arg-type]
