"""Models that answer with response senders: `IN` and `OUT` are numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from serving.repository import config
from serving.stream import Response

DECOUPLED = "model_transaction_policy { decoupled: true }"
HEAD = """
import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


def response(*numbers, error=None):
    if error is not None:
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(error))
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array(numbers, np.int32))])


def numbers(request):
    return pb_utils.get_input_tensor_by_name(request, "IN").as_numpy().tolist()


class TritonPythonModel:
"""
CONFIG = config({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])}, more=DECOUPLED)


def model_of(body: str) -> str:
    """A model whose class has this body."""
    lines = body.strip("\n").splitlines()
    margin = len(lines[0]) - len(lines[0].lstrip())
    return HEAD + "\n".join("    " + line[margin:] for line in lines) + "\n"


def outs(responses: Iterable[Response]) -> list[list[int]]:
    return [one.outputs["OUT"].tolist() for one in responses]


def ints(*numbers: int) -> dict[str, np.ndarray]:
    return {"IN": np.array(numbers, np.int32)}
