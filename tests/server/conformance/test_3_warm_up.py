"""Warm-up: requests of the configuration that run before a model is ready."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from geventhttpclient.response import HTTPConnectionClosed
from serving.client import Client
from serving.repository import config, instance_group, write_model
from serving.types import StartServer
from serving.waiting import wait_until

SERVERS_TRIED = 5
# Writes what it executes into a file of its folder.
NOTING = """
import json
import os

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.notes = args["model_repository"] + "/notes"

    def execute(self, requests):
        arrays = [request.inputs()[0].as_numpy() for request in requests]
        with open(self.notes, "a") as notes:
            told = {"shapes": [array.shape for array in arrays], "values": [text(one) for one in arrays]}
            notes.write(json.dumps({**told, "pid": os.getpid()}) + "\\n")
        return [self.answer(array) for array in arrays]

    def answer(self, array):
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])


def text(array):
    return [one.decode() if isinstance(one, bytes) else one for one in array.ravel().tolist()]
"""
RAISING = f"{NOTING}\n\nTritonPythonModel.answer = lambda self, array: 1 / 0\n"
REFUSING = f"""{NOTING}

TritonPythonModel.answer = lambda self, array: pb_utils.InferenceResponse(error=pb_utils.TritonError("cold"))
"""


def sample(
    name: str, data: str, data_type: str = "INT32", dims: str = "[ 3 ]", more: str = "batch_size: 1"
) -> str:
    value = f"data_type: TYPE_{data_type} dims: {dims} {data}"
    return f'{{ name: "{name}" {more} inputs {{ key: "IN" value {{ {value} }} }} }}'


def warm_config(*samples: str, data_type: str = "INT32", max_batch_size: int = 0, more: str = "") -> str:
    tensors = {"IN": (data_type, [-1])}, {"OUT": (data_type, [-1])}
    warm_up = f"model_warmup [ {', '.join(samples)} ]"
    return config(*tensors, max_batch_size=max_batch_size, more=f"{warm_up}\n{more}")


def notes(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "notes").read_text().splitlines()]


def test_samples_run_in_each_instance(repository: Path, http: Client, model_name: str) -> None:
    samples = (
        sample("zeros", "zero_data: true"),
        sample("again", "zero_data: true", more="batch_size: 1 count: 2"),
    )
    folder = write_model(repository, model_name, NOTING, warm_config(*samples, more=instance_group(2)))
    http.load(model_name)
    seen = notes(folder)
    assert [one["values"] for one in seen] == [[[0, 0, 0]]] * 6
    assert len({one["pid"] for one in seen}) == 2
    assert http.infer(model_name, {"IN": np.array([1], np.int32)})["OUT"].tolist() == [1]


def test_samples_come_in_batches(repository: Path, http: Client, model_name: str) -> None:
    batch = sample("batch", "zero_data: true", more="batch_size: 4")
    folder = write_model(repository, model_name, NOTING, warm_config(batch, max_batch_size=4))
    http.load(model_name)
    (seen,) = notes(folder)
    assert np.sum([shape[0] for shape in seen["shapes"]]) == 4  # type: ignore[attr-defined]


def test_samples_of_random_numbers(repository: Path, http: Client, model_name: str) -> None:
    random = sample("random", "random_data: true", dims="[ 64 ]")
    folder = write_model(repository, model_name, NOTING, warm_config(random))
    http.load(model_name)
    ((values,),) = (one["values"] for one in notes(folder))  # type: ignore[misc]
    assert len(set(values)) > 1


@pytest.mark.parametrize(
    ("data_type", "payload", "values"),
    [
        ("INT32", np.array([4, 5, 6], np.int32).tobytes(), [4, 5, 6]),
        ("STRING", b"\x01\0\0\0a\0\0\0\0\x02\0\0\0bc", ["a", "", "bc"]),
    ],
)
def test_samples_of_a_file(
    repository: Path, http: Client, model_name: str, data_type: str, payload: bytes, values: list[object]
) -> None:
    of_file = sample("file", 'input_data_file: "data"', data_type)
    folder = write_model(repository, model_name, NOTING, warm_config(of_file, data_type=data_type))
    (folder / "warmup").mkdir()
    (folder / "warmup" / "data").write_bytes(payload)
    http.load(model_name)
    assert [one["values"] for one in notes(folder)] == [[values]]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            RAISING,
            "Failed to process the request(s) for model 'm_0', message: "
            "ZeroDivisionError: division by zero\n\nAt:\n",
        ),
        (REFUSING, "cold; "),
    ],
    ids=["exception", "error"],
)
def test_a_sample_that_fails_fails_the_load(start_server: StartServer, code: str, expected: str) -> None:
    error = _load_error(start_server, code)
    start = "load failed for model 'm': version 1 is at UNAVAILABLE state: Invalid argument: "
    assert error.startswith(f"{start}failed to run warmup sample 'zeros': {expected}")


def _load_error(start_server: StartServer, code: str) -> str:
    """From the first server that lives to tell.

    Triton 2.51 may crash when it gives up an instance while the thread that has just warmed it up is between
    saying so and waiting for work.
    """
    for _ in range(SERVERS_TRIED):
        server = start_server()
        folder = write_model(
            server.start.repository, "m", code, warm_config(sample("zeros", "zero_data: true"))
        )
        with Client(server) as client:
            try:
                error = client.load_error("m")
            except (HTTPConnectionClosed, OSError):
                wait_until("the server to end", lambda one=server: one.ended)
                assert "Signal (11) received" in server.log(), server.log()
                continue
            assert len(notes(folder)) == 1
            # The same model, mended.
            (folder / "1" / "model.py").write_text(NOTING)
            client.load("m")
            return error
    raise AssertionError(f"{SERVERS_TRIED} servers have crashed")
