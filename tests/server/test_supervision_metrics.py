"""The metrics page and the doctor tell the truth about processes that die, and about what is under way."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doctoring import examine
from serving.client import Client
from serving.metrics import Labels, memory, metrics, page
from serving.repository import config, instance_group, model_code, parameters
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([1], np.int32)}
GOOD = model_code("identity")
ENDING = """
import ctypes
import os
import signal
import time

import triton_python_backend_utils as pb_utils

ENDINGS = {
    1: lambda: os._exit(7),
    2: lambda: os.kill(os.getpid(), signal.SIGKILL),
    3: lambda: ctypes.string_at(0),
    4: lambda: time.sleep(1000),
}


class TritonPythonModel:
    def execute(self, requests):
        ENDINGS[int(requests[0].inputs()[0].as_numpy()[0])]()
"""


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    return {
        "metrics": True,
        "settings": {"shm-release-after-seconds": "1", "stub-restart-wait-seconds": "60"},
    }


def of(server: TritonServer, name: str, model: str) -> list[tuple[Labels, float]]:
    return [sample for sample in metrics(server, f"triton_python_{name}") if sample[0]["model"] == model]


def value(server: TritonServer, name: str, model: str) -> float:
    ((labels, number),) = of(server, name, model)
    assert labels == {"model": model, "version": "1", "instance": f"{model}_0"}
    return number


def test_deaths_are_counted_by_cause_and_restarts_too(load: Load, http: Client, server: TritonServer) -> None:
    model = load(ENDING, config(*TENSORS, more=parameters(EXECUTE_TIMEOUT_SECONDS="0.5")))
    assert not of(server, "deaths_total", model)
    assert value(server, "restarts_total", model) == 0
    for ending in (1, 2, 3, 4):
        http.error(model, {"IN": np.array([ending], np.int32)})
    wait_until("the last one to be replaced", lambda: value(server, "restarts_total", model) == 4)
    assert {labels["cause"]: number for labels, number in of(server, "deaths_total", model)} == {
        "exit 7": 1,
        f"signal {signal.SIGKILL.value}": 1,
        f"signal {signal.SIGSEGV.value}": 1,
        "stuck": 1,
    }


def test_an_instance_without_a_process_is_down(load: Load, server: TritonServer, repository: Path) -> None:
    """For the metrics and for the doctor; the request that waits for the next process is held."""
    code = GOOD.replace("class TritonPythonModel:", "import os, time\n\n\nclass TritonPythonModel:", 1)
    code += """
    def initialize(self, args):
        folder = args["model_repository"]
        if os.path.exists(folder + "/wait"):
            while not os.path.exists(folder + "/go"):
                time.sleep(0.01)
"""
    model = load(code, config(*TENSORS))
    assert value(server, "instance_up", model) == 1
    ports = [f"--metrics-port={server.metrics_port}", "--host=127.0.0.1"]
    assert examine(*ports)["instances"].found == "1 of 1 instances of models have a process that serves"
    (repository / model / "wait").touch()
    (stub,) = server.stubs()
    os.kill(stub.pid, signal.SIGKILL)
    wait_until("it to be down", lambda: value(server, "instance_up", model) == 0)
    told = examine(*ports)["instances"]
    assert told.status == "failed"
    assert told.found == (
        f"1 of 1 instances have no process that serves: '{model}_0' (died of signal 9 1 times)"
    )

    def ask() -> list[int]:
        with Client(server) as client:
            return list(client.infer(model, ONE)["OUT"].tolist())

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        wait_until("it to hold the request", lambda: value(server, "held_requests", model) == 1)
        (repository / model / "go").touch()
        assert answer.result() == [1]
    wait_until("it to hold none", lambda: value(server, "held_requests", model) == 0)
    assert value(server, "instance_up", model) == 1
    assert examine(*ports)["instances"].status == "ok"


def test_each_instance_has_lines_of_its_own(load: Load, server: TritonServer) -> None:
    model = load(GOOD, config(*TENSORS, more=instance_group(2)))
    assert sorted(labels["instance"] for labels, _ in of(server, "instance_up", model)) == [
        f"{model}_0_0",
        f"{model}_0_1",
    ]


def test_the_queue_is_as_deep_as_there_are_open_requests(
    load: Load, server: TritonServer, repository: Path
) -> None:
    model = load(
        """
import os
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.go = args["model_repository"] + "/go"

    def execute(self, requests):
        while not os.path.exists(self.go):
            time.sleep(0.01)
        inputs = [request.inputs()[0].as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", one)]) for one in inputs]
""",
        config(
            *TENSORS,
            max_batch_size=4,
            more="dynamic_batching { preferred_batch_size: [3] max_queue_delay_microseconds: 10000000 }",
        ),
    )

    def ask(_: int) -> None:
        with Client(server) as client:
            client.infer(model, {"IN": np.array([[1]], np.int32)})

    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(ask, number) for number in range(3)]
        wait_until("three to be executed", lambda: value(server, "queue_depth", model) == 3)
        (repository / model / "go").touch()
        for answer in answers:
            answer.result()
    wait_until("none to be left", lambda: value(server, "queue_depth", model) == 0)


def test_memory_is_free_after_its_use_and_then_given_back(
    load: Load, server: TritonServer, http: Client
) -> None:
    model = load(GOOD, config(*TENSORS))
    size = 32 << 20
    http.infer(model, {"IN": np.zeros(size // 4, np.int32)})
    kept = 1 << 20  # of each half
    wait_until("it to be free", lambda: memory(server, model, "shm_free", "inputs") >= size)
    assert memory(server, model, "shm_used", "inputs") < size
    wait_until(
        "the rest to be given back", lambda: value(server, "shm_given_back_bytes_total", model) >= size - kept
    )
    wait_until("the pool to fall", lambda: memory(server, model, "shm_free", "inputs") <= kept)


def test_the_build_is_told_once(load: Load, server: TritonServer) -> None:
    load(GOOD, config(*TENSORS))
    ((labels, number),) = metrics(server, "triton_python_build_info")
    assert number == 1
    assert labels["backend"] == "python"
    assert set(labels) == {"backend", "version", "wire_version"}


def test_what_is_gone_is_not_shown(load: Load, server: TritonServer, http: Client) -> None:
    model = load(ENDING, config(*TENSORS))
    http.error(model, ONE)
    assert f'model="{model}"' in page(server)
    http.unload(model)
    ours = [line for line in page(server).splitlines() if line.startswith("triton_python_")]
    assert not [line for line in ours if f'model="{model}"' in line]


def test_the_doctor_sees_the_ports_of_a_server_of_ours_as_no_failure(server: TritonServer) -> None:
    told = examine(
        "--host=127.0.0.1",
        f"--http-port={server.http_port}",
        f"--grpc-port={server.grpc_port}",
        f"--metrics-port={server.metrics_port}",
    )
    assert told["ports"].status == "warning"
    assert told["ports"].found.startswith("a server with this backend runs here: the address 127.0.0.1:")
