"""Ragged inputs: requests of different shapes in one batch, each with its own tensor."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.repository import model_code
from serving.server import TritonServer
from serving.types import Load


def ragged_config(allowed: bool, data_type: str = "INT32") -> str:
    """A batch is complete with four rows, and waits for them."""
    return f"""
backend: "python"
max_batch_size: 4
input [ {{ name: "IN" data_type: TYPE_{data_type} dims: [ -1 ] allow_ragged_batch: {str(allowed).lower()} }} ]
output [ {{ name: "ANSWER" data_type: TYPE_STRING dims: [ 1 ] }} ]
dynamic_batching {{ preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 100000000 }}
"""


def told(server: TritonServer, model: str, array: np.ndarray) -> dict[str, Any]:
    with Client(server) as client:
        return dict(json.loads(client.infer(model, {"IN": array})["ANSWER"].item()))


@pytest.mark.parametrize("data_type", ["INT32", "STRING"])
def test_requests_of_different_shapes_share_a_batch(load: Load, server: TritonServer, data_type: str) -> None:
    model = load(model_code("telling_tensors"), ragged_config(True, data_type))
    arrays = [np.arange(size, dtype=np.int32)[None] for size in (1, 70, 3, 5000)]
    if data_type == "STRING":
        arrays = [array.astype(str).astype(np.object_) for array in arrays]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda array: told(server, model, array), arrays))
    assert [answer["batch"] for answer in answers] == [4] * 4
    assert [answer["inputs"]["IN"][1] for answer in answers] == [array.tolist() for array in arrays]


def test_without_it_only_those_of_one_shape_do(load: Load, server: TritonServer) -> None:
    model = load(model_code("telling_tensors"), ragged_config(False).replace("100000000", "500000"))
    arrays = [np.full((1, size), size, np.int32) for size in (3, 5)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda array: told(server, model, array), arrays))
    assert [answer["batch"] for answer in answers] == [1, 1]
    assert [answer["inputs"]["IN"][1] for answer in answers] == [array.tolist() for array in arrays]
