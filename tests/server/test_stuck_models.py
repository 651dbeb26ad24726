"""A model that does not come back: the deadline of its choice ends it, its stacks in the log; a late answer
is nobody's."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, model_code, parameters, write_model
from serving.server import TritonServer
from serving.stream import Stream
from serving.types import Load
from serving.waiting import wait_until

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
SECOND = parameters(EXECUTE_TIMEOUT_SECONDS="1")
# Stuck when the input is 0.
MODEL = """
import asyncio
import ctypes
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    {keyword} execute(self, requests):
        if requests[0].inputs()[0].as_numpy()[0] == 0:
            {stuck}
        inputs = [request.inputs()[0].as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", one)]) for one in inputs]
"""
STUCK = {
    "python": "while True: time.sleep(0.01)",
    "native code": "ctypes.CDLL(None).sleep(1000)",
    "native code that keeps the interpreter lock": "ctypes.PyDLL(None).sleep(1000)",
    "a coroutine": "await asyncio.Event().wait()",
}
DEADLINE = "It was ended: execute() took longer than 1 s (EXECUTE_TIMEOUT_SECONDS)."


def ones(value: int) -> dict[str, np.ndarray]:
    return {"IN": np.array([value], np.int32)}


def model_that_is_stuck(how: str) -> str:
    return MODEL.format(keyword="async def" if "await" in STUCK[how] else "def", stuck=STUCK[how])


@pytest.mark.parametrize("how", STUCK)
def test_the_deadline_ends_it_with_its_stacks_in_the_log(
    load: Load, server: TritonServer, http: Client, how: str, log_start: int
) -> None:
    model = load(model_that_is_stuck(how), config(*TENSORS, more=SECOND))
    assert http.infer(model, ones(1))["OUT"].tolist() == [1]
    assert http.error(model, ones(0)) == f"Stub process '{model}_0' is not healthy. {DEADLINE}"
    assert http.infer(model, ones(2))["OUT"].tolist() == [2]
    log = server.log()[log_start:]
    assert "Fatal Python error: Aborted" in log
    where = "run_forever" if how == "a coroutine" else "in execute"
    assert any(where in line for line in log.splitlines() if model in line), "the stack of the model"


def test_a_process_that_has_not_read_a_request_leaves_it_to_the_next(
    load: Load, server: TritonServer, http: Client
) -> None:
    before = server.stubs()
    model = load(model_that_is_stuck("python"), config(*TENSORS, more=SECOND))
    (stub,) = set(server.stubs()) - set(before)
    os.kill(stub.pid, signal.SIGSTOP)
    assert http.infer(model, ones(3))["OUT"].tolist() == [3]
    wait_until("the end of the one that had been stopped", lambda: not stub.alive)


def test_what_waits_behind_it_is_answered(load: Load, server: TritonServer) -> None:
    model = load(model_that_is_stuck("python"), config(*TENSORS, more=SECOND))

    def ask(value: int) -> str:
        with Client(server) as client:
            if value == 0:
                return client.error(model, ones(value))
            return str(client.infer(model, ones(value))["OUT"].tolist())

    with ThreadPoolExecutor(5) as pool:
        told = list(pool.map(ask, range(5)))
    assert told[0].endswith(DEADLINE)
    assert told[1:] == ["[1]", "[2]", "[3]", "[4]"]


def test_a_decoupled_model_has_so_long_to_return(
    load: Load, server: TritonServer, stream: Stream, http: Client
) -> None:
    model = load(
        """
import time
import threading

import triton_python_backend_utils as pb_utils


def answer(request):
    time.sleep(1.5)
    sender = request.get_response_sender()
    sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", request.inputs()[0].as_numpy())]))
    sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            if request.inputs()[0].as_numpy()[0] == 0:
                time.sleep(1000)
            threading.Thread(target=answer, args=[request]).start()
""",
        config(*TENSORS, more=f"model_transaction_policy {{ decoupled: true }}\n{SECOND}"),
    )
    (response,) = stream.ask(model, ones(5))
    assert response.outputs["OUT"].tolist() == [5]
    (response,) = stream.ask(model, ones(0))
    assert response.error == f"Stub process '{model}_0' is not healthy. {DEADLINE}"


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf", ""])
def test_a_deadline_that_is_none_fails_the_load(
    http: Client, repository: Path, model_name: str, value: str
) -> None:
    write_model(
        repository,
        model_name,
        model_code("identity"),
        config(*TENSORS, more=parameters(EXECUTE_TIMEOUT_SECONDS=value)),
    )
    error = http.load_error(model_name)
    assert (
        f"EXECUTE_TIMEOUT_SECONDS must be a number of seconds above 0 and at most 4000000, not '{value}'"
        in error
    )


def test_a_slip_of_the_pen_is_told(load: Load, server: TritonServer, log_start: int) -> None:
    slips = parameters(EXECUTE_TIMEOUT_SECOND="1", execution_env_paths="x", TIMEOUT="1")
    load(model_code("identity"), config(*TENSORS, more=slips))
    log = server.log()[log_start:]
    for slip, meant in {
        "EXECUTE_TIMEOUT_SECOND": "EXECUTE_TIMEOUT_SECONDS",
        "execution_env_paths": "EXECUTION_ENV_PATH",
    }.items():
        wanted = f"the model's parameter '{slip}' is none of the backend's"
        assert any(wanted in line and f"did you mean '{meant}'?" in line for line in log.splitlines())
    assert "'TIMEOUT'" not in log
