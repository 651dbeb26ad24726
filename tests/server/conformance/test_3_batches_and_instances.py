"""Many requests at once: dynamic batches, several instances, many clients."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, instance_group, model_code, write_model
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

BATCHES = config(
    {"IN": ("INT32", [-1])},
    {"OUT": ("INT32", [-1]), "COUNT": ("INT32", [1])},
    max_batch_size=16,
    more="dynamic_batching { max_queue_delay_microseconds: 50000 }",
)
# COUNT: how many requests came in the same call.
BATCH_MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            array = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            count = np.full((array.shape[0], 1), len(requests), np.int32)
            if array[0, 0] % 7 == 3:
                error = pb_utils.TritonError(f"{array[0, 0]} refused", pb_utils.TritonError.INVALID_ARG)
                responses.append(pb_utils.InferenceResponse(error=error))
                continue
            outputs = [pb_utils.Tensor("OUT", array * 2), pb_utils.Tensor("COUNT", count)]
            responses.append(pb_utils.InferenceResponse(outputs))
        return responses
"""
PROCESS_MODEL = """
import os

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([os.getpid()], np.int32))])
            for _ in requests
        ]
"""
ONE_NUMBER = ({"IN": ("INT32", [1])}, {"OUT": ("INT32", [1])})
CLIENTS = 8


def at_once(server: TritonServer, protocol: str, work: Callable[[Client, int], None]) -> None:
    """Run `work(client, number)` on many threads, each with a client of its own."""
    start = threading.Barrier(CLIENTS)

    def one(number: int) -> None:
        with Client(server, protocol) as client:
            start.wait()
            work(client, number)

    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(one, number) for number in range(CLIENTS)]:
            done.result()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("width", [3, 9_000])
def test_each_request_of_a_dynamic_batch_gets_its_own_answer(
    load: Load, server: TritonServer, protocol: str, width: int
) -> None:
    model = load(BATCH_MODEL, BATCHES)
    counts: list[int] = []

    def work(client: Client, number: int) -> None:
        for repeat in range(20):
            value = 100 * repeat + number
            array = np.full((1 + number % 3, width), value, np.int32)
            if value % 7 == 3:
                assert client.error(model, {"IN": array}) == f"{value} refused"
                continue
            got = client.infer(model, {"IN": array})
            assert np.array_equal(got["OUT"], array * 2)
            counts.append(int(got["COUNT"][0, 0]))

    at_once(server, protocol, work)
    assert max(counts) > 1, "no batch has ever been formed"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_many_clients_get_their_own_answers(load: Load, server: TritonServer, protocol: str) -> None:
    tensors = ({"IN": ("FP64", [-1])}, {"OUT": ("FP64", [-1])})
    model = load(model_code("identity"), config(*tensors))

    def work(client: Client, number: int) -> None:
        random = np.random.default_rng(number)
        for _ in range(40):
            array = random.random(int(random.integers(0, 5_000)))
            assert np.array_equal(client.infer(model, {"IN": array})["OUT"], array)

    at_once(server, protocol, work)


def test_each_instance_is_a_process_of_its_own(load: Load, http: Client, server: TritonServer) -> None:
    before = {stub.pid for stub in server.stubs()}
    model = load(PROCESS_MODEL, config(*ONE_NUMBER, more=instance_group(3)))
    pids = {stub.pid for stub in server.stubs()} - before
    assert len(pids) == 3

    answered: set[int] = set()

    def all_have_answered() -> bool:
        answered.update(http.infer(model, {"IN": np.array([0], np.int32)})["OUT"].tolist())
        assert answered <= pids
        return answered == pids

    wait_until("each of the instances to answer", all_have_answered)


def test_instances_load_at_the_same_time(load: Load, tmp_path: Path, http: Client) -> None:
    """Each waits in initialize for the two others: one after the other they would never be ready."""
    model = load(
        f"""
import pathlib
import time

import triton_python_backend_utils as pb_utils

MEETING = pathlib.Path({str(tmp_path)!r})


class TritonPythonModel:
    def initialize(self, args):
        (MEETING / args["model_instance_name"]).touch()
        end = time.monotonic() + 60
        while len(list(MEETING.iterdir())) < 3:
            if time.monotonic() > end:
                raise RuntimeError("the others have not begun")
            time.sleep(0.01)

    def execute(self, requests):
        return [pb_utils.InferenceResponse([]) for _ in requests]
""",
        config(*ONE_NUMBER, more=instance_group(3)),
    )
    assert http.raw.is_model_ready(model)
    assert {path.name for path in tmp_path.iterdir()} == {f"{model}_0_{index}" for index in range(3)}


def test_instances_work_at_the_same_time(load: Load, tmp_path: Path, server: TritonServer) -> None:
    """Each request waits in execute for the other one."""
    model = load(
        f"""
import pathlib
import time

import numpy as np
import triton_python_backend_utils as pb_utils

MEETING = pathlib.Path({str(tmp_path)!r})


class TritonPythonModel:
    def execute(self, requests):
        (request,) = requests
        (MEETING / str(request.inputs()[0].as_numpy()[0])).touch()
        end = time.monotonic() + 60
        while len(list(MEETING.iterdir())) < 2:
            if time.monotonic() > end:
                raise RuntimeError("the other one has not begun")
            time.sleep(0.01)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([1], np.int32))])]
""",
        config(*ONE_NUMBER, more=instance_group(2)),
    )

    def ask(number: int) -> list[int]:
        with Client(server) as client:
            return list(client.infer(model, {"IN": np.array([number], np.int32)})["OUT"].tolist())

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, range(2))) == [[1], [1]]


def test_models_side_by_side_do_not_mix(load: Load, server: TritonServer) -> None:
    tensors = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
    code = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", request.inputs()[0].as_numpy() * FACTOR)])
            for request in requests
        ]
"""
    models = [load(code.replace("FACTOR", str(factor)), config(*tensors)) for factor in range(4)]

    def work(client: Client, number: int) -> None:
        for repeat in range(30):
            array = np.full(1 + repeat * 300, number + repeat, np.int32)
            factor = (number + repeat) % 4
            assert np.array_equal(client.infer(models[factor], {"IN": array})["OUT"], array * factor)

    at_once(server, "http", work)


def test_two_versions_of_a_model_serve_side_by_side(repository: Path, http: Client, model_name: str) -> None:
    code = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.version = np.array([int(args["model_version"])], np.int32)

    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", self.version)]) for _ in requests]
"""
    more = config(*ONE_NUMBER, more="version_policy { all {} }")
    for version in (1, 3):
        write_model(repository, model_name, code, more, version=version)
    http.load(model_name)
    sent = {"IN": np.array([0], np.int32)}
    for version in (1, 3):
        assert http.infer(model_name, sent, model_version=str(version))["OUT"].tolist() == [version]
    assert http.infer(model_name, sent)["OUT"].tolist() == [3]


def test_our_models_take_part_in_an_ensemble(
    repository: Path, http: Client, load: Load, model_name: str
) -> None:
    tensors = ({"IN": ("FP32", [-1])}, {"OUT": ("FP32", [-1])})
    inner = load(model_code("identity"), config(*tensors))
    ensemble = f"""
platform: "ensemble"
input [ {{ name: "IN" data_type: TYPE_FP32 dims: [ -1 ] }} ]
output [ {{ name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] }} ]
ensemble_scheduling {{
  step [
    {{ model_name: "{inner}" model_version: -1
      input_map {{ key: "IN" value: "IN" }} output_map {{ key: "OUT" value: "BETWEEN" }} }},
    {{ model_name: "{inner}" model_version: -1
      input_map {{ key: "IN" value: "BETWEEN" }} output_map {{ key: "OUT" value: "OUT" }} }}
  ]
}}
"""
    write_model(repository, f"{model_name}_ensemble", None, ensemble)
    http.load(f"{model_name}_ensemble")
    for size in (1, 30_000):
        sent = np.random.default_rng(1).random(size, np.float32)
        assert np.array_equal(http.infer(f"{model_name}_ensemble", {"IN": sent})["OUT"], sent)
