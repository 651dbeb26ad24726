"""Unload and the server's end with a request that does not end: neither waits for ever."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.client import LOADED, Client
from serving.repository import config, model_code, write_model
from serving.server import TritonServer
from serving.stream import Stream
from serving.types import Load
from serving.waiting import wait_until

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([1], np.int32)}
SECONDS = 3
STUCK = """
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.notes = args["model_repository"] + "/"

    def execute(self, requests):
        open(self.notes + "executing", "w").close()
        while True:
            time.sleep(0.01)
            {look}
"""
FORGETFUL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.notes = args["model_repository"] + "/"
        self.senders = []

    def execute(self, requests):
        self.senders += [request.get_response_sender() for request in requests]
        open(self.notes + "executing", "w").close()
"""


LASTING = """
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.notes = args["model_repository"] + "/"

    def execute(self, requests):
        open(self.notes + "executing", "w").close()
        time.sleep(1)
        self.done = time.monotonic()
        outputs = [pb_utils.Tensor("OUT", one.inputs()[0].as_numpy()) for one in requests]
        return [pb_utils.InferenceResponse([one]) for one in outputs]

    def finalize(self):
        with open(self.notes + "finalized", "w") as note:
            print(time.monotonic() - self.done, file=note)
"""


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    return {"settings": {"unload-timeout-seconds": str(SECONDS)}}


def unload(server: TritonServer, model: str) -> float:
    """Seconds until the model is gone."""
    began = time.monotonic()
    with Client(server) as client:
        client.unload(model)
        wait_until("the end of its process", lambda: not server.stubs())
    return time.monotonic() - began


def test_a_model_outlives_its_last_answer_for_a_moment(
    load: Load, server: TritonServer, http: Client, repository: Path
) -> None:
    """Core reads freed memory when a model ends before its thread has come back from the last execution."""
    model = load(LASTING, config(*TENSORS))

    def ask() -> list[int]:
        with Client(server) as client:
            return list(client.infer(model, ONE)["OUT"].tolist())

    assert ask() == [1]
    (repository / model / "executing").unlink()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        wait_until("the request to be executed", lambda: (repository / model / "executing").exists())
        http.raw.unload_model(model)
        assert answer.result() == [1]
    wait_until("its end", lambda: "UNAVAILABLE" in http.state(model))
    assert float((repository / model / "finalized").read_text()) >= 0.1


def test_an_unload_ends_a_process_that_is_stuck(
    load: Load, server: TritonServer, repository: Path, log_start: int
) -> None:
    model = load(STUCK.format(look=""), config(*TENSORS))
    with ThreadPoolExecutor(1) as pool, Client(server) as client:
        error = pool.submit(client.error, model, ONE)
        wait_until("the request to be executed", lambda: (repository / model / "executing").exists())
        time.sleep(1.5)  # core has to have served the model for a moment, and somebody has to have seen it
        assert unload(server, model) < SECONDS + 15
        assert error.result().startswith(
            f"Stub process '{model}_0' is not healthy. It was ended: its model is being unloaded, and "
            "1 requests did not end within"
        )
    log = server.log()[log_start:]
    assert "Fatal Python error: Aborted" in log
    assert f"'{model}_0' is to be unloaded and works on 1 requests: they are cancelled, and ended in" in log
    assert f"starting a new stub process for '{model}_0'" not in log


def test_a_model_that_looks_whether_it_is_cancelled_leaves_by_itself(
    load: Load, server: TritonServer, repository: Path, log_start: int
) -> None:
    look = """if requests[0].is_cancelled():
                error = pb_utils.TritonError("given up")
                return [pb_utils.InferenceResponse(error=error) for _ in requests]"""
    model = load(STUCK.format(look=look), config(*TENSORS))
    with ThreadPoolExecutor(1) as pool, Client(server) as client:
        error = pool.submit(client.error, model, ONE)
        wait_until("the request to be executed", lambda: (repository / model / "executing").exists())
        time.sleep(1.5)
        unload(server, model)
        assert error.result() == "given up"
    assert "ending the stub process" not in server.log()[log_start:]


def test_response_senders_that_are_kept_are_closed(
    load: Load, server: TritonServer, repository: Path, http: Client
) -> None:
    model = load(FORGETFUL, config(*TENSORS, more="model_transaction_policy { decoupled: true }"))
    with Stream(server) as stream:
        stream.send(model, ONE)
        wait_until("the request to be executed", lambda: (repository / model / "executing").exists())
        time.sleep(1.5)
        http.raw.unload_model(model)
        (response,) = stream.until_final()
        assert str(response.error).startswith(
            f"Stub process '{model}_0' is not healthy. It was ended: its model is being unloaded, and "
        )
        wait_until("the end of its process", lambda: not server.stubs())
    # Triton itself keeps a model as long as a stream that was used with it is open.
    wait_until("the end of the model", lambda: http.state(model) not in LOADED)


def test_a_model_that_was_loaded_anew_does_not_keep_the_old_one_for_ever(
    load: Load, server: TritonServer, repository: Path, http: Client
) -> None:
    """Its name is served again, so core alone does not tell that the old one is to leave."""
    model = load(STUCK.format(look=""), config(*TENSORS))
    (stuck,) = server.stubs()
    with ThreadPoolExecutor(1) as pool, Client(server) as client:
        error = pool.submit(client.error, model, ONE)
        wait_until("the request to be executed", lambda: (repository / model / "executing").exists())
        time.sleep(1.5)
        write_model(
            repository, model, model_code("identity"), config(*TENSORS, more="version_policy { all {} }")
        )
        http.load(model)
        wait_until("the new one to serve", lambda: http.infer(model, ONE)["OUT"].tolist() == [1])
        assert error.result().startswith(f"Stub process '{model}_0' is not healthy. It was ended:")
        wait_until("the end of the old process", lambda: not stuck.alive)
        assert http.infer(model, ONE)["OUT"].tolist() == [1]


def test_a_model_that_is_busy_and_served_is_left_alone(
    load: Load, server: TritonServer, repository: Path, http: Client, log_start: int
) -> None:
    """Longer than an unload may take, nobody having asked for one."""
    look = "if time.monotonic() > self.until: return answer(requests)"
    code = STUCK.format(look=look).replace(
        "        open(self.notes",
        f"        self.until = time.monotonic() + {SECONDS + 2}\n        open(self.notes",
    )
    code += """

def answer(requests):
    inputs = [request.inputs()[0].as_numpy() for request in requests]
    return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", one)]) for one in inputs]
"""
    model = load(code, config(*TENSORS))
    assert http.infer(model, ONE)["OUT"].tolist() == [1]
    assert "is to be unloaded" not in server.log()[log_start:]
