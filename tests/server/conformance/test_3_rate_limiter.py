"""The server's rate limiter: how many instances may execute at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.metrics import metrics
from serving.repository import identity_config
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

# Answers with how many instances are executing while it does; they wait for each other with the file `go`.
COUNTING = """
import os
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.folder = Path(args["model_repository"])

    def execute(self, requests):
        mine = self.folder / f"running-{os.getpid()}"
        mine.touch()
        while not (self.folder / "go").exists():
            time.sleep(0.005)
        count = len(list(self.folder.glob("running-*")))
        time.sleep(0.05)
        mine.unlink()
        out = pb_utils.Tensor("OUT", np.array([count], np.int32))
        return [pb_utils.InferenceResponse([out]) for _ in requests]
"""


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    return {"metrics": True, "options": ["--rate-limit=execution_count", "--rate-limit-resource=seats:2"]}


def group(rate_limiter: str) -> str:
    return f"instance_group [ {{ count: 3 kind: KIND_CPU rate_limiter {{ {rate_limiter} }} }}]"


@pytest.mark.parametrize(
    ("rate_limiter", "at_once"),
    [
        ("", 3),
        ('resources [ { name: "seats" count: 1 } ]', 2),
        ('resources [ { name: "seats" count: 2 } ]', 1),
    ],
    ids=["no resources", "a seat each", "two seats each"],
)
def test_instances_execute_as_there_are_resources(
    load: Load, server: TritonServer, repository: Path, rate_limiter: str, at_once: int
) -> None:
    model = load(COUNTING, identity_config("INT32", more=group(rate_limiter)))
    folder = repository / model

    def one(_: int) -> int:
        with Client(server) as client:
            return int(client.infer(model, {"IN": np.zeros(1, np.int32)})["OUT"].item())

    def pending() -> float:
        found = metrics(server, "nv_inference_pending_request_count")
        return sum(value for labels, value in found if labels["model"] == model)

    with ThreadPoolExecutor(3) as pool:
        try:
            counts = [pool.submit(one, number) for number in range(3)]
            wait_until("those that may to execute", lambda: len(list(folder.glob("running-*"))) == at_once)
            wait_until("the others to wait", lambda: pending() == 3 - at_once)
        finally:
            (folder / "go").touch()
        assert max(one.result() for one in counts) == at_once
