"""Queue policies: how many requests may wait, for how long, and which go first."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.metrics import metrics
from serving.repository import config
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

# Notes what it executes, and waits for the file `go` in its folder first.
WAITING = """
import time
from pathlib import Path

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.folder = Path(args["model_repository"])

    def execute(self, requests):
        (self.folder / "began").touch()
        while not (self.folder / "go").exists():
            time.sleep(0.005)
        arrays = [request.inputs()[0].as_numpy() for request in requests]
        with (self.folder / "notes").open("a") as notes:
            notes.writelines(f"{array.ravel()[0]}\\n" for array in arrays)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)]) for array in arrays]
"""


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    return {"metrics": True}


def queue_config(policy: str) -> str:
    return config(
        {"IN": ("INT32", [1])},
        {"OUT": ("INT32", [1])},
        max_batch_size=1,
        more=f"dynamic_batching {{ {policy} }}",
    )


class Queue:
    """A model that executes one request and holds it; whatever else is asked waits behind."""

    def __init__(self, server: TritonServer, folder: Path, pool: ThreadPoolExecutor) -> None:
        self._server, self._folder, self._pool = server, folder, pool
        self._waiting = 0
        self.first = self.ask(0)
        wait_until("execute", (folder / "began").exists)

    def ask(self, value: int, **options: Any) -> Future[str]:
        """OUT of one more request, or its error."""

        def one() -> str:
            with Client(self._server) as client:
                sent = {"IN": np.array([[value]], np.int32)}
                try:
                    return str(client.infer(self._folder.name, sent, **options)["OUT"].item())
                except Exception as error:
                    return str(error)

        return self._pool.submit(one)

    def wait_behind(self, value: int, **options: Any) -> Future[str]:
        """As `ask`; returns when the request is in the queue."""
        self._waiting += 1
        future = self.ask(value, **options)
        wait_until(f"{self._waiting} requests in the queue", lambda: self.pending() >= self._waiting)
        return future

    def pending(self) -> float:
        found = metrics(self._server, "nv_inference_pending_request_count")
        return sum(value for labels, value in found if labels["model"] == self._folder.name)

    def go(self) -> None:
        (self._folder / "go").touch()

    def executed(self) -> list[int]:
        return [int(line) for line in (self._folder / "notes").read_text().split()]


@pytest.fixture
def queue(load: Load, server: TritonServer, repository: Path) -> Any:
    @contextmanager
    def hold(policy: str) -> Any:
        model = load(WAITING, queue_config(policy))
        with ThreadPoolExecutor(8) as pool:
            one = Queue(server, repository / model, pool)
            try:
                yield one
            finally:
                one.go()

    return hold


Hold = Callable[[str], Any]


def test_a_full_queue_takes_no_more(queue: Hold, http: Client, model_name: str) -> None:
    with queue("default_queue_policy { max_queue_size: 2 }") as one:
        waiting = [one.wait_behind(1), one.wait_behind(2)]
        assert "Exceeds maximum queue size" in one.ask(3).result()
        one.go()
        assert [future.result() for future in (one.first, *waiting)] == ["0", "1", "2"]
    assert one.executed() == [0, 1, 2]


def test_a_request_that_waited_too_long_is_refused(queue: Hold) -> None:
    policy = "default_queue_policy { default_timeout_microseconds: 600000000 allow_timeout_override: true }"
    with queue(policy) as one:
        late, patient = one.wait_behind(1, timeout=1), one.wait_behind(2)
        one.go()
        assert "Request timeout expired" in late.result()
        assert patient.result() == "2"
    assert one.executed() == [0, 2]


def test_a_late_request_may_go_last_instead(queue: Hold) -> None:
    policy = (
        "default_queue_policy { default_timeout_microseconds: 600000000 "
        "allow_timeout_override: true timeout_action: DELAY }"
    )
    with queue(policy) as one:
        late, patient = one.wait_behind(1, timeout=1), one.wait_behind(2)
        one.go()
        assert [late.result(), patient.result()] == ["1", "2"]
    assert one.executed() == [0, 2, 1]


def test_the_most_urgent_requests_go_first(queue: Hold) -> None:
    policy = "priority_levels: 3 default_priority_level: 2"
    with queue(policy) as one:
        waiting = [one.wait_behind(value, priority=priority) for value, priority in ((1, 3), (2, 0), (3, 1))]
        one.go()
        assert [future.result() for future in waiting] == ["1", "2", "3"]
    assert one.executed() == [0, 3, 2, 1]


def test_each_priority_has_its_own_policy(queue: Hold) -> None:
    policy = (
        "priority_levels: 2 default_priority_level: 1 "
        "priority_queue_policy { key: 2 value { max_queue_size: 1 } }"
    )
    with queue(policy) as one:
        waiting = [one.wait_behind(1, priority=2), one.wait_behind(2), one.wait_behind(3)]
        assert "Exceeds maximum queue size" in one.ask(4, priority=2).result()
        one.go()
        assert [future.result() for future in waiting] == ["1", "2", "3"]
    assert one.executed() == [0, 2, 3, 1]
