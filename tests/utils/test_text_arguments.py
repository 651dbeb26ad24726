"""Every argument that is a `str` may also be `bytes` in UTF-8: models read names out of BYTES tensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import triton_python_backend_utils as pb_utils

ARRAY = np.zeros(1, np.float32)
NAME = "n\N{LATIN SMALL LETTER U WITH DIAERESIS}"
TENSOR = pb_utils.Tensor(NAME, ARRAY)
CONFIG = {"input": [{"name": NAME}], "output": [{"name": NAME}]}


def request(**changes: Any) -> pb_utils.InferenceRequest:
    required: dict[str, Any] = {"inputs": [TENSOR], "requested_output_names": [], "model_name": "child"}
    return pb_utils.InferenceRequest(**{**required, **changes})


# What takes a text, as a function of it, with a result that shows that it was understood.
TAKES_TEXT: dict[str, tuple[Callable[[Any], Any], str]] = {
    "Tensor": (lambda text: pb_utils.Tensor(text, ARRAY).name(), NAME),
    "Tensor.from_dlpack": (
        lambda text: pb_utils.Tensor.from_dlpack(text, pb_utils.Tensor("X", ARRAY)).name(),
        NAME,
    ),
    "TritonError": (lambda text: pb_utils.TritonError(text).message(), NAME),
    "InferenceRequest.request_id": (lambda text: request(request_id=text).request_id(), NAME),
    "InferenceRequest.correlation_id": (lambda text: request(correlation_id=text).correlation_id(), NAME),
    "InferenceRequest.requested_output_names": (
        lambda text: request(requested_output_names=[text]).requested_output_names(),
        NAME,
    ),
    # The name shows only in an error.
    "InferenceRequest.model_name": (
        lambda text: str(
            pytest.raises(pb_utils.TritonModelException, request, model_name=text, inputs=[None]).value
        ),
        NAME,
    ),
    "get_input_tensor_by_name": (
        lambda text: pb_utils.get_input_tensor_by_name(request(), text) is TENSOR,
        NAME,
    ),
    "get_output_tensor_by_name": (
        lambda text: pb_utils.get_output_tensor_by_name(pb_utils.InferenceResponse([TENSOR]), text) is TENSOR,
        NAME,
    ),
    "get_input_config_by_name": (lambda text: pb_utils.get_input_config_by_name(CONFIG, text), NAME),
    "get_output_config_by_name": (lambda text: pb_utils.get_output_config_by_name(CONFIG, text), NAME),
    "triton_string_to_numpy": (pb_utils.triton_string_to_numpy, "TYPE_FP16"),
    "ModelConfig": (lambda text: pb_utils.ModelConfig(text).as_dict(), json.dumps(CONFIG)),
}


@pytest.mark.parametrize(("function", "text"), TAKES_TEXT.values(), ids=TAKES_TEXT)
def test_text_may_be_bytes(function: Callable[[Any], Any], text: str) -> None:
    from_text = function(text)
    from_bytes = function(text.encode())

    assert from_text  # neither None nor False: it was found
    assert from_bytes == from_text


def test_another_name_is_not_found() -> None:
    """The table above would show nothing if everything were."""
    assert pb_utils.get_input_tensor_by_name(request(), b"another") is None
    assert pb_utils.get_output_config_by_name(CONFIG, b"another") is None
