"""InferenceRequest as a model builds it to call another one."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

import triton_python_backend_utils as pb_utils
from triton_python_backend_utils import InferenceRequest, Tensor, TritonModelException

BAD_PARAMETERS = [
    ([], ", got <class 'list'>"),
    ({1: "x"}, "Expect parameters keys to have type str, found type <class 'int'>"),
    ({"a": 1.5}, "Expect parameters values to have type bool/int/str, found type <class 'float'>"),
    ({"a": None}, "Expect parameters values to have type bool/int/str, found type <class 'NoneType'>"),
    ({"a": []}, "Expect parameters values to have type bool/int/str, found type <class 'list'>"),
]


def tensor(name: str = "X") -> Tensor:
    return Tensor(name, np.zeros(2, dtype=np.float32))


def request(**changes: Any) -> InferenceRequest:
    arguments: dict[str, Any] = {"inputs": [], "requested_output_names": [], "model_name": "child"}
    return InferenceRequest(**{**arguments, **changes})


def refused(text: str) -> Any:
    return pytest.raises(TritonModelException, match=f"{re.escape(text)}$")


def test_request_has_defaults() -> None:
    built = request()

    assert built.request_id() == ""
    assert built.correlation_id() == 0
    assert built.inputs() == []
    assert built.requested_output_names() == set()
    assert built.flags() == 0
    assert built.timeout() == 0
    assert built.parameters() == "{}"


def test_request_keeps_what_it_is_given() -> None:
    x = tensor("X")

    built = InferenceRequest(
        "id", "corr", [x], ["A", "B", "A"], "child", 3, 1, 11_000_000_000, parameters={"a": 1}
    )

    assert built.request_id() == "id"
    assert built.correlation_id() == "corr"
    assert built.inputs()[0] is x
    assert built.requested_output_names() == {"A", "B"}
    assert built.flags() == 1
    assert built.timeout() == 11_000_000_000
    assert built.parameters() == json.dumps({"a": 1})


def test_request_inputs_are_found_by_name() -> None:
    x, y = tensor("X"), tensor("Y")
    built = request(inputs=[x, y])

    assert pb_utils.get_input_tensor_by_name(built, "Y") is y
    assert pb_utils.get_input_tensor_by_name(built, "Z") is None


def test_request_inputs_are_a_new_list_each_time() -> None:
    built = request(inputs=[tensor()])

    built.inputs().clear()

    assert len(built.inputs()) == 1


def test_request_flags_can_be_set() -> None:
    built = request()

    built.set_flags(pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END)

    assert built.flags() == 2


def test_request_texts_may_be_bytes() -> None:
    built = request(request_id=b"id", model_name=b"child")

    assert built.request_id() == "id"


def test_request_correlation_id_may_be_a_large_number() -> None:
    assert request(correlation_id=2**63 + 5).correlation_id() == 2**63 + 5


@pytest.mark.parametrize("missing", ["inputs", "requested_output_names", "model_name"])
def test_request_needs_inputs_outputs_and_model(missing: str) -> None:
    arguments: dict[str, Any] = {"inputs": [], "requested_output_names": [], "model_name": "child"}
    del arguments[missing]

    with pytest.raises(TypeError):
        InferenceRequest(**arguments)


@pytest.mark.parametrize(
    "name",
    [
        "request_id",
        "correlation_id",
        "inputs",
        "requested_output_names",
        "model_name",
        "model_version",
        "flags",
        "timeout",
        "preferred_memory",
        "trace",
        "priority",
    ],
)
def test_request_refuses_none(name: str) -> None:
    with pytest.raises(TypeError):
        request(**{name: None})


def test_request_parameters_may_be_none() -> None:
    assert request(parameters=None).parameters() == "{}"


def test_request_refuses_other_correlation_ids() -> None:
    with refused("Correlation ID must be integer or string"):
        request(correlation_id=1.5)


def test_request_refuses_a_negative_correlation_id() -> None:
    with pytest.raises(RuntimeError, match=r"^Unable to cast Python instance"):
        request(correlation_id=-1)


def test_request_refuses_none_for_an_input() -> None:
    with refused("Input tensor for request with id 'id' and model name 'child' should not be empty."):
        request(request_id="id", inputs=[None])


def test_request_refuses_an_empty_output_name() -> None:
    with refused(
        "Requested output name for request with id 'id' and model name 'child' should not be empty."
    ):
        request(request_id="id", requested_output_names=["A", ""])


@pytest.mark.parametrize(("parameters", "text"), BAD_PARAMETERS)
def test_request_refuses_other_parameters(parameters: Any, text: str) -> None:
    with refused(text):
        request(parameters=parameters)
