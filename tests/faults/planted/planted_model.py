"""What the models of the matrix have in common: answers that can be checked, and the phases of a life."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from planted_faults import point

import triton_python_backend_utils as pb_utils


def answer(request: Any) -> np.ndarray:
    """Of IN, which holds one number again and again: as large as COUNT says, else about all of IN."""
    given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
    first = int(given["IN"][0])
    if "COUNT" in given:
        return np.full(given["COUNT"][0], first * 2 + 1, np.int32)
    return np.array([first * 2 + 1, given["IN"].size, np.count_nonzero(given["IN"] == first)], np.int32)


def response(array: np.ndarray) -> Any:
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])


class Model:
    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        point("auto-complete")
        return config

    def initialize(self, args: dict[str, str]) -> None:
        point("initialize")
        threading.Thread(target=self.look_for_faults, daemon=True).start()

    def look_for_faults(self) -> None:
        while True:
            point("thread")
            time.sleep(0.005)

    def execute(self, requests: list[Any]) -> Any:
        return [self.one(request) for request in requests]

    def one(self, request: Any) -> Any:
        raise NotImplementedError

    def finalize(self) -> None:
        point("finalize")
