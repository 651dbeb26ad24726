"""The priority of calls in the other model's queue."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving.calls import CALLER_CONFIG, ask, caller
from serving.client import Client
from serving.metrics import metrics
from serving.repository import config, instance_group
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

# Notes what it executes, and waits for the file `go` in its folder first.
NOTING = """
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
        with (self.folder / "notes").open("a") as notes:
            notes.writelines(f"{request.inputs()[0].as_numpy().item()}\\n" for request in requests)
        return [pb_utils.InferenceResponse([]) for _ in requests]
"""
CONFIG = config(
    {"IN": ("INT32", [1])},
    {"OUT": ("INT32", [1])},
    max_batch_size=1,
    more="dynamic_batching { priority_levels: 3 default_priority_level: 2 }",
)
CALLING = caller("""
more = {} if told["priority"] is None else {"priority": told["priority"]}
return text_of(request(child, {"IN": ints([told["value"]])}, **more).exec())
""")


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    return {"metrics": True}


@pytest.mark.differs("priority")
def test_the_most_urgent_call_goes_first(
    load: Load, server: TritonServer, http: Client, repository: Path
) -> None:
    child = load(NOTING, CONFIG)
    model = load(CALLING, f"{CALLER_CONFIG}\n{instance_group(5)}")
    folder = repository / child

    def call(value: int, priority: int | None) -> Any:
        with Client(server) as client:
            return ask(client, model, child=child, value=value, priority=priority)

    def waiting() -> float:
        found = metrics(server, "nv_inference_pending_request_count")
        return sum(value for labels, value in found if labels["model"] == child)

    with ThreadPoolExecutor(5) as pool:
        try:
            calls = [pool.submit(call, 0, 1)]
            wait_until("the first to hold the other model", (folder / "began").exists)
            for place, (value, priority) in enumerate(((1, 3), (2, None), (3, 0), (4, 1)), 1):
                calls.append(pool.submit(call, value, priority))
                wait_until(f"{place} of them in the queue", lambda: waiting() == place)  # noqa: B023
        finally:
            (folder / "go").touch()
        assert [one.result() for one in calls] == ["no error"] * 5
    assert (folder / "notes").read_text().split() == ["0", "4", "2", "3", "1"]
