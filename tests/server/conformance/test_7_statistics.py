"""What the server's statistics and metrics say about the requests of a model."""

from __future__ import annotations

import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.calls import WAITING
from serving.client import Client
from serving.repository import config, model_code, write_model
from serving.server import TritonServer
from serving.statistics import count, number, statistics_after
from serving.stream import Stream
from serving.types import Load
from serving.waiting import wait_until
from tritonclient.utils import InferenceServerException

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([1], np.int32)}
GOOD = model_code("identity")
RAISING = """
class TritonPythonModel:
    def execute(self, requests):
        raise ValueError("always")
"""
REFUSING = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("no")) for _ in requests]
"""


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    return {"metrics": True}


def metric(server: TritonServer, name: str, **labels: str) -> float:
    """The sum of a metric's lines that carry these labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    found = [line for line in lines if line.startswith(name + "{") and all(one in line for one in wanted)]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def test_answers_count_as_successes(load: Load, http: Client) -> None:
    model = load(GOOD, config(*TENSORS))
    for _ in range(7):
        http.infer(model, ONE)
    seen = statistics_after(http, model, 7, 7)
    assert number(seen, "inference_count") == 7
    assert number(seen, "execution_count") == 7
    assert count(seen, "success") == 7
    assert count(seen, "fail") == 0
    for phase in ("queue", "compute_input", "compute_infer", "compute_output"):
        assert count(seen, phase) == 7


def test_times_are_in_order_and_add_up(load: Load, http: Client) -> None:
    model = load(GOOD, config(*TENSORS))
    for _ in range(5):
        http.infer(model, {"IN": np.zeros(1 << 20, np.int32)})
    statistics = statistics_after(http, model, 5, 5)["inference_stats"]
    phases = ("queue", "compute_input", "compute_infer", "compute_output")
    times = {phase: int(statistics[phase]["ns"]) for phase in phases}
    # Four megabytes in and out are copied in each of these.
    assert all(times[phase] > 0 for phase in phases[1:]), times
    assert sum(times.values()) <= int(statistics["success"]["ns"])


def test_the_time_of_execute_is_that_of_the_inference(load: Load, http: Client) -> None:
    sleeping = GOOD.replace(
        "    def execute(self, requests):\n", "    def execute(self, requests):\n        SLEEP\n"
    )
    model = load(sleeping.replace("SLEEP", "__import__('time').sleep(0.3)"), config(*TENSORS))
    http.infer(model, ONE)
    seen = statistics_after(http, model, 1, 1)
    assert number(seen, "inference_stats", "compute_infer", "ns") >= 300_000_000
    assert number(seen, "inference_stats", "compute_input", "ns") < 300_000_000
    assert number(seen, "inference_stats", "compute_output", "ns") < 300_000_000


def test_a_batch_counts_as_one_execution(load: Load, server: TritonServer, http: Client) -> None:
    model = load(
        GOOD,
        config(
            *TENSORS,
            max_batch_size=8,
            more="dynamic_batching { preferred_batch_size: [ 8 ] max_queue_delay_microseconds: 20000000 }",
        ),
    )

    def ask(rows: int) -> None:
        with Client(server) as client:
            client.infer(model, {"IN": np.ones((rows, 2), np.int32)})

    rows = (1, 2, 2, 3)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, rows))
    seen = statistics_after(http, model, 4, 1)
    assert number(seen, "inference_count") == 8
    assert number(seen, "execution_count") == 1
    assert count(seen, "success") == 4
    (batch,) = seen["batch_stats"]
    assert int(batch["batch_size"]) == 8
    assert int(batch["compute_infer"]["count"]) == 1
    assert int(batch["compute_infer"]["ns"]) > 0


def test_the_rows_of_a_request_count_as_inferences(load: Load, http: Client) -> None:
    model = load(GOOD, config(*TENSORS, max_batch_size=8))
    http.infer(model, {"IN": np.ones((5, 2), np.int32)})
    seen = statistics_after(http, model, 1, 1)
    assert number(seen, "inference_count") == 5
    assert number(seen, "execution_count") == 1
    assert [int(batch["batch_size"]) for batch in seen["batch_stats"]] == [5]


def test_an_exception_counts_as_a_failure_and_as_an_execution(
    load: Load, http: Client, server: TritonServer
) -> None:
    model = load(RAISING, config(*TENSORS))
    for _ in range(3):
        http.error(model, ONE)
    seen = statistics_after(http, model, 3, 3)
    assert number(seen, "inference_count") == 0
    assert number(seen, "execution_count") == 3
    assert count(seen, "success") == 0
    assert count(seen, "fail") == 3
    wait_until(
        "the failures among the metrics",
        lambda: metric(server, "nv_inference_request_failure", model=model, reason="BACKEND") == 3,
    )


def test_an_error_that_a_model_returns_counts_as_a_success(load: Load, http: Client) -> None:
    """As it always has: the model has done its work."""
    model = load(REFUSING, config(*TENSORS))
    for _ in range(3):
        http.error(model, ONE)
    seen = statistics_after(http, model, 3, 3)
    assert count(seen, "success") == 3
    assert count(seen, "fail") == 0
    assert number(seen, "execution_count") == 3


KEEPING = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    kept = []

    def execute(self, requests):
        self.kept += [request.get_response_sender() for request in requests]
        if requests[0].inputs()[0].as_numpy()[0] == 2:
            for sender in self.kept:
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            self.kept.clear()
"""


def test_a_decoupled_request_counts_when_execute_has_returned(
    load: Load, http: Client, stream: Stream
) -> None:
    """Not when it is answered."""
    model = load(KEEPING, config(*TENSORS, more="model_transaction_policy { decoupled: true }"))
    stream.send(model, ONE)
    assert count(statistics_after(http, model, 1, 1), "success") == 1
    stream.send(model, {"IN": np.array([2], np.int32)})
    assert count(statistics_after(http, model, 2, 2), "success") == 2
    assert [stream.next().final, stream.next().final] == [True, True]


DYING = """
import os

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        if requests[0].inputs()[0].as_numpy()[0] == 9:
            os._exit(1)
        inputs = [request.inputs()[0].as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", one)]) for one in inputs]
"""


def test_a_dead_process_executes_nothing(load: Load, http: Client) -> None:
    model = load(DYING, config(*TENSORS))
    http.infer(model, ONE)
    for _ in range(3):
        http.error(model, {"IN": np.array([9], np.int32)})
    seen = statistics_after(http, model, 4, 1)
    assert count(seen, "success") == 1
    assert count(seen, "fail") == 3
    assert number(seen, "execution_count") == 1
    assert number(seen, "inference_count") == 1


def test_the_metrics_count_with_the_statistics(load: Load, http: Client, server: TritonServer) -> None:
    model = load(GOOD, config(*TENSORS, max_batch_size=4))
    for _ in range(4):
        http.infer(model, {"IN": np.ones((2, 1), np.int32)})
    wanted = {"nv_inference_count": 8, "nv_inference_exec_count": 4, "nv_inference_request_success": 4}
    for name, value in wanted.items():
        wait_until(f"{name} to be {value}", lambda: metric(server, name, model=model) == value)  # noqa: B023


HALF = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request.inputs()[0].as_numpy()) for request in requests]

    def one(self, array):
        if array.ravel()[0] < 0:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("no"))
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])
"""


def failures(server: TritonServer, model: str) -> dict[str, float]:
    """By their reasons."""
    reasons = ("BACKEND", "REJECTED", "CANCELED", "OTHER")
    return {
        reason: metric(server, "nv_inference_request_failure", model=model, reason=reason)
        for reason in reasons
    }


def failed(**reasons: int) -> dict[str, float]:
    return {reason: reasons.get(reason, 0) for reason in ("BACKEND", "REJECTED", "CANCELED", "OTHER")}


def test_an_error_for_one_of_a_batch_is_no_failure_of_any(
    load: Load, http: Client, server: TritonServer
) -> None:
    batching = "dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 20000000 }"
    model = load(HALF, config(*TENSORS, max_batch_size=4, more=batching))

    def ask(value: int) -> None:
        with Client(server) as client:
            sent = {"IN": np.full((1, 1), value, np.int32)}
            if value < 0:
                assert client.error(model, sent) == "no"
            else:
                client.infer(model, sent)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, (1, -1, 2, -2)))
    seen = statistics_after(http, model, 4, 1)
    assert (count(seen, "success"), count(seen, "fail")) == (4, 0)
    assert number(seen, "inference_count") == 4
    assert [int(batch["batch_size"]) for batch in seen["batch_stats"]] == [4]
    wait_until(
        "the successes among the metrics",
        lambda: metric(server, "nv_inference_request_success", model=model) == 4,
    )
    assert failures(server, model) == failed()


def test_what_the_model_returned_wrongly_is_a_failure_of_the_backend(
    load: Load, http: Client, server: TritonServer
) -> None:
    wrong = "class TritonPythonModel:\n    def execute(self, requests): return 7"
    model = load(wrong, config(*TENSORS))
    http.error(model, ONE)
    seen = statistics_after(http, model, 1, 1)
    assert (count(seen, "success"), count(seen, "fail"), number(seen, "inference_count")) == (0, 1, 0)
    wait_until("the failure", lambda: failures(server, model) == failed(BACKEND=1))


def test_what_the_server_refuses_never_reaches_the_model(
    load: Load, http: Client, server: TritonServer
) -> None:
    """A request of the wrong shape counts nowhere but as another failure."""
    model = load(GOOD, config({"IN": ("INT32", [2])}, {"OUT": ("INT32", [2])}))
    http.error(model, ONE)
    http.infer(model, {"IN": np.zeros(2, np.int32)})
    seen = statistics_after(http, model, 1, 1)
    assert (count(seen, "success"), count(seen, "fail"), number(seen, "inference_count")) == (1, 0, 1)
    assert failures(server, model) == failed()


def test_a_request_that_waited_too_long_counts_as_rejected(
    load: Load, http: Client, server: TritonServer, repository: Path
) -> None:
    """It never reaches the model."""
    policy = "default_queue_policy { allow_timeout_override: true default_timeout_microseconds: 600000000 }"
    model = load(WAITING, config(*TENSORS, max_batch_size=1, more=f"dynamic_batching {{ {policy} }}"))
    sent = {"IN": np.ones((1, 1), np.int32)}

    def ask(**options: Any) -> str:
        with Client(server) as client:
            try:
                client.infer(model, sent, **options)
            except InferenceServerException as error:
                return str(error.message())
            return "answered"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask)
        wait_until("execute", (repository / model / "began").exists)
        late = pool.submit(ask, timeout=1)
        wait_until(
            "the request to wait",
            lambda: metric(server, "nv_inference_pending_request_count", model=model) == 1,
        )
        (repository / model / "go").touch()
        assert (first.result(), late.result()) == ("answered", "Request timeout expired")
    wait_until("the failure", lambda: failures(server, model) == failed(REJECTED=1))
    seen = statistics_after(http, model, 2, 1)
    assert (count(seen, "success"), count(seen, "fail")) == (1, 1)


def test_the_versions_of_a_model_count_apart(http: Client, repository: Path, model_name: str) -> None:
    for version in (1, 2):
        write_model(
            repository, model_name, GOOD, config(*TENSORS, more="version_policy { all { } }"), version=version
        )
    http.load(model_name)
    for version, times in (("1", 1), ("2", 3)):
        for _ in range(times):
            http.infer(model_name, ONE, model_version=version)
    wait_until(
        "the statistics of both",
        lambda: {
            one["version"]: int(one["inference_stats"]["success"]["count"])
            for one in http.raw.get_inference_statistics(model_name)["model_stats"]
        }
        == {"1": 1, "2": 3},
    )


def test_what_upstream_never_reports_is_empty(load: Load, http: Client) -> None:
    model = load(GOOD, config(*TENSORS))
    http.infer(model, ONE)
    seen = statistics_after(http, model, 1, 1)
    assert (seen["response_stats"], seen["memory_usage"]) == ({}, [])
