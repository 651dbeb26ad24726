"""Models that fork, spawn and start threads."""

from __future__ import annotations

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config
from serving.types import Load
from serving.waiting import wait_until

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([1], np.int32)}


@pytest.mark.differs("many-forks", run=False)
def test_a_pool_of_processes_in_execute_works(load: Load, http: Client) -> None:
    model = load(
        """
import multiprocessing

import numpy as np
import triton_python_backend_utils as pb_utils


def work(chunk):
    return int(chunk.sum())


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            array = request.inputs()[0].as_numpy()
            with multiprocessing.get_context("fork").Pool(2) as pool:
                sums = pool.map(work, np.array_split(array, 4))
            # The parent's array is as it was, also when it is a view on shared memory.
            outputs = [pb_utils.Tensor("OUT", np.array([*sums, array.sum()], np.int32))]
            responses.append(pb_utils.InferenceResponse(outputs))
        return responses
""",
        config(*TENSORS),
    )
    for size in (8, 40_000):
        for repeat in range(3):
            array = (np.arange(size) % 50 + repeat).astype(np.int32)
            wanted = [int(chunk.sum()) for chunk in np.array_split(array, 4)]
            got = http.infer(model, {"IN": array})["OUT"].tolist()
            assert got == [*wanted, int(array.sum())]


def test_a_child_that_ends_gives_back_nothing_of_its_parents(load: Load, http: Client) -> None:
    """It inherits tensors of a request that is executed, and drops them; the parent's stay right."""
    model = load(
        """
import os

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    kept = []

    def execute(self, requests):
        tensors = [request.inputs()[0] for request in requests]
        arrays = [tensor.as_numpy() for tensor in tensors]
        self.kept.append(arrays[0])
        child = os.fork()
        if child == 0:
            del tensors, arrays, requests
            self.kept.clear()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        outputs = [pb_utils.Tensor("OUT", array) for array in arrays]
        del self.kept[:-5]
        return [pb_utils.InferenceResponse([output]) for output in outputs]
""",
        config(*TENSORS),
    )
    for number in range(30):
        sent = np.full(20_000, number, np.int32)
        assert np.array_equal(http.infer(model, {"IN": sent})["OUT"], sent)


def test_spawned_workers_find_the_models_module(load: Load, http: Client) -> None:
    """multiprocessing's `spawn`, which imports the model file in a fresh interpreter."""
    model = load(
        """
import concurrent.futures
import multiprocessing

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        context = multiprocessing.get_context("spawn")
        self.pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)

    def execute(self, requests):
        values = [self.pool.submit(int.bit_length, int(one.inputs()[0].as_numpy()[0])) for one in requests]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([value.result()], np.int32))])
            for value in values
        ]

    def finalize(self):
        self.pool.shutdown()
""",
        config(*TENSORS),
    )
    assert http.infer(model, {"IN": np.array([1000], np.int32)})["OUT"].tolist() == [10]


def test_threads_of_a_model_run_between_requests(load: Load, http: Client) -> None:
    """The stub does not hold the GIL while it waits."""
    model = load(
        """
import itertools
import threading

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.count = 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        for self.count in itertools.count():
            threading.Event().wait(0.001)

    def execute(self, requests):
        count = np.array([self.count], np.int32)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", count)]) for _ in requests]
""",
        config(*TENSORS),
    )
    first = http.infer(model, ONE)["OUT"][0]
    wait_until("the thread to go on", lambda: http.infer(model, ONE)["OUT"][0] > first + 3)
