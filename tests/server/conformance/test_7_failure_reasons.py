"""What the server's metrics say about why requests failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.calls import WAITING
from serving.client import Client
from serving.metrics import metrics
from serving.repository import config
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

POLICY = "default_timeout_microseconds: 600000000 allow_timeout_override: true"
BATCHING = f"dynamic_batching {{ default_queue_policy {{ {POLICY} }} }}"
CONFIG = config({"IN": ("INT32", [1])}, {"OUT": ("INT32", [1])}, max_batch_size=1, more=BATCHING)
ONE = {"IN": np.array([[1]], np.int32)}


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    return {"metrics": True}


def failures(server: TritonServer, model: str) -> dict[str, float]:
    found = metrics(server, "nv_inference_request_failure")
    return {labels["reason"]: value for labels, value in found if labels["model"] == model and value}


def pending(server: TritonServer, model: str) -> float:
    found = metrics(server, "nv_inference_pending_request_count")
    return sum(value for labels, value in found if labels["model"] == model)


def test_a_request_that_is_cancelled_while_it_waits(
    load: Load, server: TritonServer, repository: Path
) -> None:
    model = load(WAITING, CONFIG)
    folder = repository / model
    answers: list[Any] = []

    def note(result: Any, error: Any) -> None:
        answers.append("error" if error else "answer")

    with Client(server, "grpc") as client:
        try:
            client.raw.async_infer(model, client.tensors(ONE), callback=note)
            wait_until("the first to be executed", (folder / "began").exists)
            waiting = client.raw.async_infer(model, client.tensors(ONE), callback=note)
            wait_until("the second to wait", lambda: pending(server, model) == 1)
            waiting.cancel()
            wait_until("the second to be given up", lambda: answers == ["error"])
        finally:
            (folder / "go").touch()
        wait_until("the first to be answered", lambda: answers == ["error", "answer"])
    wait_until("the failure to be counted", lambda: failures(server, model) == {"CANCELED": 1})


def test_a_request_that_waited_too_long(load: Load, server: TritonServer, repository: Path) -> None:
    model = load(WAITING, CONFIG)
    folder = repository / model
    answers: list[str] = []

    def note(result: Any, error: Any) -> None:
        answers.append(error.message() if error else "answer")

    with Client(server, "grpc") as client:
        try:
            client.raw.async_infer(model, client.tensors(ONE), callback=note)
            wait_until("the first to be executed", (folder / "began").exists)
            client.raw.async_infer(model, client.tensors(ONE), callback=note, timeout=1)
            wait_until("the second to wait", lambda: pending(server, model) == 1)
        finally:
            (folder / "go").touch()
        wait_until("both to be answered", lambda: len(answers) == 2)
    assert sorted(answers) == ["Request timeout expired", "answer"]
    wait_until("the failure to be counted", lambda: failures(server, model) == {"REJECTED": 1})


def test_a_model_that_raises(load: Load, http: Client, server: TritonServer) -> None:
    model = load(
        "class TritonPythonModel:\n    def execute(self, requests):\n        raise ValueError", CONFIG
    )
    for _ in range(3):
        http.error(model, ONE)
    wait_until("the failures to be counted", lambda: failures(server, model) == {"BACKEND": 3})
