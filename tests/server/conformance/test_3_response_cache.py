"""The server's response cache: what it knows does not reach the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config
from serving.statistics import count, statistics_after
from serving.types import Load

# Answers with how often it was executed.
COUNTING = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    executed = 0

    def execute(self, requests):
        return [self.one(request) for request in requests]

    def one(self, request):
        self.executed += 1
        array = request.inputs()[0].as_numpy()
        if array.ravel()[0] in (b"13", 13):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"error {self.executed}"))
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("OUT", array), pb_utils.Tensor("COUNT", np.array([self.executed], np.int32))]
        )
"""


@pytest.fixture(scope="module")
def server_options(triton_server_binary: Path) -> dict[str, Any]:
    caches = triton_server_binary.resolve().parents[1] / "caches"
    return {"options": ["--cache-config=local,size=16777216", f"--cache-directory={caches}"]}


def counting(data_type: str, enable: bool = True) -> str:
    return config(
        {"IN": (data_type, [-1])},
        {"OUT": (data_type, [-1]), "COUNT": ("INT32", [1])},
        more=f"response_cache {{ enable: {str(enable).lower()} }}",
    )


def executions(client: Client, model: str, array: np.ndarray) -> int:
    got = client.infer(model, {"IN": array})
    assert got["OUT"].tolist() == array.tolist()
    return int(got["COUNT"][0])


@pytest.mark.parametrize(
    ("data_type", "one", "other"),
    [
        ("INT32", np.array([1, 2], np.int32), np.array([1, 3], np.int32)),
        ("STRING", np.array([b"a", b"bc"], np.object_), np.array([b"ab", b"c"], np.object_)),
    ],
    ids=["numbers", "strings"],
)
def test_a_request_that_was_answered_before_is_answered_from_the_cache(
    load: Load, client: Client, http: Client, data_type: str, one: np.ndarray, other: np.ndarray
) -> None:
    model = load(COUNTING, counting(data_type))
    assert [executions(client, model, array) for array in (one, other, one, other, one)] == [1, 2, 1, 2, 1]
    statistics = statistics_after(http, model, 5, 2)
    assert count(statistics, "cache_hit") == 3
    assert count(statistics, "cache_miss") == 2


def test_an_error_reaches_the_client_that_asked(load: Load, http: Client) -> None:
    """Triton 2.51 remembers it, as an answer without outputs; newer ones do not."""
    model = load(COUNTING, counting("INT32"))
    assert http.error(model, {"IN": np.array([13], np.int32)}) == "error 1"


def test_a_model_that_does_not_want_it_is_executed_each_time(load: Load, http: Client) -> None:
    model = load(COUNTING, counting("INT32", enable=False))
    assert [executions(http, model, np.array([1], np.int32)) for _ in range(3)] == [1, 2, 3]
