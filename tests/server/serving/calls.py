"""Models that call other models. What they are told and what they answer is JSON, as numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from textwrap import dedent, indent
from typing import Any

import numpy as np

from serving.client import Client
from serving.repository import config

# `caller` puts a method `one` behind this; what it returns is the answer.
_CALLER = """
import json
import os
import threading

import numpy as np
import triton_python_backend_utils as pb_utils


def tensors(inputs):
    return [
        array if isinstance(array, pb_utils.Tensor) else pb_utils.Tensor(name, np.asarray(array))
        for name, array in inputs.items()
    ]


def request(model, inputs={}, outputs=(), **more):
    return pb_utils.InferenceRequest(
        inputs=tensors(inputs), requested_output_names=list(outputs), model_name=model, **more
    )


def arrays(response):
    if response.has_error():
        raise RuntimeError(response.error().message())
    return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


def call(model, inputs={}, outputs=(), **more):
    return arrays(request(model, inputs, outputs, **more).exec())


def text_of(response):
    return response.error().message() if response.has_error() else "no error"


def ints(*numbers):
    return np.array(numbers, np.int32)


def say(answer):
    text = np.frombuffer(json.dumps(answer).encode(), np.uint8)
    return pb_utils.InferenceResponse([pb_utils.Tensor("ANSWER", text)])


class TritonPythonModel:
    def execute(self, requests):
        return [say(self.one(**self.told(request))) for request in requests]

    def told(self, request):
        self.request = request
        given = {tensor.name(): tensor for tensor in request.inputs()}
        return json.loads(given["TOLD"].as_numpy().tobytes())

"""

CALLER_CONFIG = config(
    {"TOLD": ("UINT8", [-1]), "IN": ("INT32", [-1])}, {"ANSWER": ("UINT8", [-1])}, optional=["IN"]
)

# Answers with all that a model can see of its request.
TELLING = """
import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.version = args["model_version"]

    def execute(self, requests):
        return [self.tell(request) for request in requests]

    def tell(self, request):
        seen = {
            "model_version": self.version,
            "request_id": request.request_id(),
            "correlation_id": request.correlation_id(),
            "flags": request.flags(),
            "timeout": request.timeout(),
            "parameters": json.loads(request.parameters()),
            "requested_output_names": sorted(request.requested_output_names()),
        }
        text = np.frombuffer(json.dumps(seen).encode(), np.uint8)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, text) for name in ("SEEN", "ALSO")])
"""
TELLING_CONFIG = config({"IN": ("INT32", [-1])}, {"SEEN": ("UINT8", [-1]), "ALSO": ("UINT8", [-1])})

# Says in a file of its folder that it has begun, and waits there for `go`; then as identity.
WAITING = """
import os
import time
from pathlib import Path

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.folder = Path(args["model_repository"])

    def execute(self, requests):
        (self.folder / "began").write_text(str(os.getpid()))
        while not (self.folder / "go").exists():
            time.sleep(0.01)
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", one.inputs()[0].as_numpy())])
            for one in requests
        ]
"""


def caller(one: str, more: str = "") -> str:
    """The source of a model: `one` is the body of its method of that name, `more` goes into the class."""
    method = f"def one(self, child=None, **told):\n{indent(dedent(one), '    ')}"
    return f"{_CALLER}{indent(dedent(more), '    ')}\n{indent(method, '    ')}"


def ask(client: Client, model: str, given: Mapping[str, np.ndarray] | None = None, **told: Any) -> Any:
    """What a model made by `caller` answers."""
    inputs = {"TOLD": np.frombuffer(json.dumps(told).encode(), np.uint8), **(given or {})}
    return json.loads(client.infer(model, inputs)["ANSWER"].tobytes())
