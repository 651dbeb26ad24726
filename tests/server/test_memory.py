"""Shared memory of an instance: what counts as taken, what the metrics say, and that it is given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.metrics import memory, metrics, page
from serving.processes import Process
from serving.repository import config, identity_config, instance_group, model_code, write_model
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

MIB = 1 << 20
POOL = 2 * MIB
GROWTH = 8 * MIB
# What may stay of a burst: the pools, and pages that something small is on.
LITTLE = 2 * POOL + MIB
GAUGES = ("shm_pool", "shm_used", "shm_resident", "kept_inputs")

# Both arenas and the heap: the answer is computed, with temporaries.
MODEL = """
import resource

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        arrays = [request.inputs()[0].as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", (a * 2 - a) + 1)]) for a in arrays]
"""


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    settings = {
        "shm-default-byte-size": str(POOL),
        "shm-growth-byte-size": str(GROWTH),
        "shm-release-after-seconds": "1",
    }
    return {"metrics": True, "settings": settings, "options": ["--log-verbose=1"]}


def resident(server: TritonServer, stub: Process) -> int:
    """Bytes of memory behind the file that the stub shares with the server, as the kernel counts."""
    found = [number for number, name in stub.descriptors().items() if server.region_prefix in name]
    return 512 * Path(f"/proc/{stub.pid}/fd/{found[0]}").stat().st_blocks


def heap(stub: Process) -> int:
    status = Path(f"/proc/{stub.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("RssAnon:"))
    return 1024 * int(line.split()[1])


def numbers(size: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + size, dtype=np.int32)


def test_memory_of_a_burst_goes_back_and_the_next_request_is_right(
    load: Load, http: Client, server: TritonServer
) -> None:
    model = load(MODEL, identity_config("INT32"))
    (stub,) = server.stubs()
    http.infer(model, {"IN": numbers(100)})
    heap_before = heap(stub)
    large = numbers(32 * MIB // 4)
    for _ in range(3):
        assert np.array_equal(http.infer(model, {"IN": large})["OUT"], large + 1)
    taken = resident(server, stub)
    assert taken >= 64 * MIB

    wait_until("the pages to go back", lambda: resident(server, stub) <= LITTLE)
    wait_until("the heap of the stub to go back", lambda: heap(stub) <= heap_before + 8 * MIB)
    for arena in ("inputs", "outputs"):
        wait_until(
            f"the pool of {arena} to fall", lambda a=arena: memory(server, model, "shm_pool", a) == POOL
        )
    wait_until(
        "the metrics to follow", lambda: memory(server, model, "shm_resident") == resident(server, stub)
    )
    assert np.array_equal(http.infer(model, {"IN": large + 7})["OUT"], large + 8)


def test_pools_grow_in_steps_and_the_log_tells(load: Load, http: Client, server: TritonServer) -> None:
    model = load(MODEL, identity_config("INT32"))
    log_before = len(server.log())
    for arena in ("inputs", "outputs"):
        assert memory(server, model, "shm_pool", arena) == POOL

    http.infer(model, {"IN": numbers(3 * MIB // 4)})

    # Beside the tensor there is a message, but never more than a step.
    for arena in ("inputs", "outputs"):
        grown = POOL + GROWTH
        text = f"shared memory pool of '{model}_0' for {arena} grew to {grown} bytes"
        wait_until(text, lambda t=text: t in server.log()[log_before:])
        text = f"shared memory pool of '{model}_0' for {arena} fell to {POOL} bytes"
        wait_until(text, lambda t=text: t in server.log()[log_before:])


def test_small_requests_take_no_more_than_the_pool(load: Load, http: Client, server: TritonServer) -> None:
    """They have nothing to give back, so nothing is logged of them, and no thread wakes up for them."""
    model = load(MODEL, identity_config("INT32"))
    log_before = len(server.log())

    for number in range(100):
        http.infer(model, {"IN": numbers(10_000, number)})

    wait_until("the metrics to follow", lambda: memory(server, model, "shm_resident") > 0)
    assert memory(server, model, "shm_pool", "inputs") == POOL
    assert "shared memory pool" not in server.log()[log_before:]


def test_the_metrics_of_a_model_come_and_go_with_it(load: Load, http: Client, server: TritonServer) -> None:
    model = load(MODEL, identity_config("INT32", more=instance_group(2)))
    instances = {f"{model}_0_0", f"{model}_0_1"}

    for gauge in GAUGES:
        found = [labels for labels, _ in metrics(server, f"triton_python_{gauge}_bytes")]
        own = [labels for labels in found if labels["model"] == model]
        assert {labels["instance"] for labels in own} == instances
        assert {labels["version"] for labels in own} == {"1"}

    http.unload(model)

    def left() -> list[str]:
        lines = page(server).splitlines()
        return [line for line in lines if line.startswith("triton_python_") and f'"{model}"' in line]

    wait_until("the metrics to go", lambda: not left())


def test_the_metrics_of_a_model_that_is_loaded_anew_are_those_of_the_new_one(
    load: Load, http: Client, server: TritonServer
) -> None:
    """The new one comes before the old one goes, under the same labels."""
    model = load(MODEL, identity_config("INT32"))
    http.infer(model, {"IN": numbers(100)})
    (old,) = server.stubs()
    write_model(server.start.repository, model, MODEL + "\n# new\n", identity_config("INT32", more=" "))

    http.load(model)

    wait_until("the old instance to go", lambda: not old.alive)
    wait_until("one pool", lambda: memory(server, model, "shm_pool", "inputs") == POOL)
    assert memory(server, model, "shm_resident") < LITTLE


FAULTS_MODEL = """
import resource

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request.inputs()[0].as_numpy()) for request in requests]

    def one(self, array):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(4):
            array = array * 2
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([faults], np.int32))])
"""


def fewest_faults(client: Client, model: str) -> int:
    """Page faults of four temporaries of 1024 pages each, once the model is warm."""
    array = np.ones(MIB, np.int32)
    return min(int(client.infer(model, {"IN": array})["OUT"][0]) for _ in range(5))


def test_a_stub_keeps_the_memory_of_its_temporaries(load: Load, http: Client) -> None:
    model = load(FAULTS_MODEL, identity_config("INT32"))

    assert fewest_faults(http, model) < 100


@pytest.mark.parametrize(
    "how",
    [
        {"settings": {"stub-keeps-heap": "false"}},
        {"environment": {"MALLOC_TRIM_THRESHOLD_": "131072"}},
        {"environment": {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}},
    ],
    ids=["by the setting", "by a variable", "by a tunable"],
)
def test_a_stub_leaves_its_heap_as_it_is_when_told_so(start_server: Any, how: dict[str, Any]) -> None:
    server = start_server(**how)
    write_model(server.start.repository, "m", FAULTS_MODEL, identity_config("INT32"))
    with Client(server) as client:
        client.load("m")
        assert fewest_faults(client, "m") > 500


def test_a_server_without_metrics_serves(start_server: Any) -> None:
    server = start_server(metrics=False, settings={"shm-release-after-seconds": "1"})
    write_model(
        server.start.repository,
        "m",
        model_code("identity"),
        config({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])}),
    )
    with Client(server) as client:
        client.load("m")
        (stub,) = server.stubs()
        large = numbers(4 * MIB)
        assert np.array_equal(client.infer("m", {"IN": large})["OUT"], large)
        wait_until("the pages to go back", lambda: resident(server, stub) <= LITTLE)
