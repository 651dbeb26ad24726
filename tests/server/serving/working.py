"""Models that do something for each batch."""

from __future__ import annotations

from textwrap import indent

import numpy as np

from serving.repository import config

CONFIG = config({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([1], np.int32)}
# What their code may name.
HEAD = """
import atexit
import ctypes
import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import triton_python_backend_utils as pb_utils

# NVIDIA's backend has it from the end of the import on.
Logger = getattr(pb_utils, "Logger", None)
"""
_EXECUTE = (
    HEAD
    + """

class TritonPythonModel:
    def execute(self, requests):
        self.work(requests[0].inputs()[0].as_numpy())
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", request.inputs()[0].as_numpy())])
            for request in requests
        ]

    def work(self, what):
        Logger = pb_utils.Logger
"""
)
FIRST_LINE = _EXECUTE.count("\n") + 1
"""Of the body, in the model's file."""


def working(body: str) -> str:
    """The code of a model for CONFIG that does `body` for each batch and gives the inputs back.

    In it, `what` is the first request's input.
    """
    return _EXECUTE + indent(body.strip("\n"), " " * 8) + "\n"
