"""Models that answer every request with what they are told to tell."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from serving.client import Client
from serving.repository import config
from serving.types import Load

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([1], np.int32)}
# Answers every request with what TELL evaluates to, as JSON in the text of an error.
TELLING = """
import json
import os
import sys
import threading

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.args = args
        self.initialize_thread = threading.current_thread()

    def execute(self, requests):
        tell = json.dumps(TELL)
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError(tell)) for _ in requests]
"""


def telling(expression: str) -> str:
    """The source of a model that tells what `expression` is when a request comes."""
    return TELLING.replace("TELL)", f"{expression})")


def told(http: Client, load: Load, expression: str, text: str | None = None, **options: Any) -> Any:
    """What a model made by `telling` tells."""
    model = load(telling(expression), text or config(*TENSORS), **options)
    return json.loads(http.error(model, ONE))
