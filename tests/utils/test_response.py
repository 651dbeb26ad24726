"""TritonError, TritonModelException and InferenceResponse as a model builds them."""

from __future__ import annotations

import json
import pickle
import re
from typing import Any

import numpy as np
import pytest

import triton_python_backend_utils as pb_utils
from triton_python_backend_utils import InferenceResponse, Tensor, TritonError, TritonModelException

CODES = [
    "UNKNOWN",
    "INTERNAL",
    "NOT_FOUND",
    "INVALID_ARG",
    "UNAVAILABLE",
    "UNSUPPORTED",
    "ALREADY_EXISTS",
    "CANCELLED",
]

BAD_PARAMETERS = [
    ([], ", got <class 'list'>"),
    ({1: "x"}, "Expect parameters keys to have type str, found type <class 'int'>"),
    ({"a": 1.5}, "Expect parameters values to have type bool/int/str, found type <class 'float'>"),
    ({"a": None}, "Expect parameters values to have type bool/int/str, found type <class 'NoneType'>"),
    ({"a": []}, "Expect parameters values to have type bool/int/str, found type <class 'list'>"),
]


def tensor(name: str = "X") -> Tensor:
    return Tensor(name, np.zeros(2, dtype=np.float32))


def refused(text: str) -> Any:
    return pytest.raises(TritonModelException, match=f"{re.escape(text)}$")


def test_model_exception_is_an_ordinary_exception() -> None:
    assert TritonModelException.__mro__ == (TritonModelException, Exception, BaseException, object)
    assert str(TritonModelException("text")) == "text"


def test_model_exception_can_be_pickled() -> None:
    copy = pickle.loads(pickle.dumps(TritonModelException("text")))

    assert type(copy) is TritonModelException
    assert copy.args == ("text",)


@pytest.mark.parametrize(("value", "name"), list(enumerate(CODES)))
def test_error_codes_have_the_numbers_of_the_server(value: int, name: str) -> None:
    code = getattr(TritonError, name)

    assert int(code) == value
    assert repr(code) == f"<__ErrorCode.{name}: {value}>"
    assert TritonError("text", code).code() == code


@pytest.mark.parametrize("name", CODES)
def test_error_codes_are_read_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AttributeError):
        monkeypatch.setattr(TritonError, name, 1)  # undone where it works, for the tests after this one


def test_error_is_internal_by_default() -> None:
    error = TritonError("text")

    assert error.message() == "text"
    assert error.code() == TritonError.INTERNAL


def test_error_takes_keywords_and_bytes() -> None:
    error = TritonError(message=b"text", code=TritonError.NOT_FOUND)

    assert error.message() == "text"
    assert error.code() == TritonError.NOT_FOUND


@pytest.mark.parametrize("arguments", [(), (None,), ("text", 2), ("text", None), (5,)])
def test_error_refuses_other_types(arguments: Any) -> None:
    with pytest.raises(TypeError):
        TritonError(*arguments)


def test_response_has_nothing_by_default() -> None:
    response = InferenceResponse()

    assert response.output_tensors() == []
    assert response.has_error() is False
    assert response.error() is None


def test_response_keeps_its_tensors() -> None:
    first, second = tensor("A"), tensor("B")

    response = InferenceResponse(output_tensors=[first, second])

    outputs = response.output_tensors()
    assert len(outputs) == 2
    assert outputs[0] is first
    assert outputs[1] is second
    assert pb_utils.get_output_tensor_by_name(response, "B") is second
    assert pb_utils.get_output_tensor_by_name(response, "C") is None


def test_response_carries_an_error() -> None:
    response = InferenceResponse(error=TritonError("text", TritonError.UNAVAILABLE))

    error = response.error()
    assert response.has_error() is True
    assert error is not None
    assert error.message() == "text"
    assert error.code() == TritonError.UNAVAILABLE


def test_response_without_parameters_has_an_empty_object_of_them() -> None:
    assert InferenceResponse().parameters() == "{}"
    assert InferenceResponse([], None, None).parameters() == "{}"
    assert InferenceResponse([tensor()], parameters={}).parameters() == "{}"


def test_response_with_an_error_has_no_parameters() -> None:
    assert InferenceResponse(error=TritonError("text")).parameters() == ""


def test_response_parameters_are_json() -> None:
    parameters: dict[str, bool | int | str] = {
        "a": 1,
        "b": 'x\n"\N{GREEK SMALL LETTER PI}',
        "c": True,
        "d": -(2**40),
    }

    response = InferenceResponse([], None, parameters)

    assert json.loads(response.parameters()) == parameters


@pytest.mark.parametrize("arguments", [(None,), ([], "text"), ("text",), ([1],)])
def test_response_refuses_other_types(arguments: Any) -> None:
    with pytest.raises(TypeError):
        InferenceResponse(*arguments)


def test_response_refuses_none_for_a_tensor() -> None:
    with refused("Output tensor for inference response should not be empty."):
        InferenceResponse([tensor(), None])  # type: ignore[list-item]


@pytest.mark.parametrize(("parameters", "text"), BAD_PARAMETERS)
def test_response_refuses_other_parameters(parameters: Any, text: str) -> None:
    with refused(text):
        InferenceResponse(parameters=parameters)
