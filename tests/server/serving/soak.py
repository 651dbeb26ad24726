"""A soak: clients that send requests of random models, types and sizes for minutes, and check every answer.

Meanwhile the memory of the server and of its stubs is watched.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException

from serving.client import PROTOCOLS, Client
from serving.repository import config, write_model
from serving.server import TritonServer

CLIENTS = 8
# Log-uniform: most requests are small, some have megabytes.
MOST_ELEMENTS = 1 << 20
SAMPLE_SECONDS = 5.0

DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "STRING": np.object_,
}

IDENTITY = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([self.passed(one) for one in r.inputs()]) for r in requests]

    def passed(self, tensor):
        return pb_utils.Tensor("OUT" + tensor.name()[2:], tensor.as_numpy())
"""
CALLER = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.call(request) for request in requests]

    def call(self, request):
        called = pb_utils.InferenceRequest(
            model_name="soak_identity",
            inputs=request.inputs(),
            requested_output_names=["OUT" + one.name()[2:] for one in request.inputs()],
        ).exec()
        if called.has_error():
            return pb_utils.InferenceResponse(error=called.error())
        return pb_utils.InferenceResponse(called.output_tensors())
"""
DOUBLER = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", self.x(r) * 2)]) for r in requests]

    def x(self, request):
        return pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
"""
KEEPER = """
import random

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.kept = []

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        array = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
        if array.size % 7 == 3:
            error = pb_utils.TritonError("three of seven", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=error)
        answer = array + 1
        array[:] = -1
        self.kept.append(array)
        random.shuffle(self.kept)
        del self.kept[8:]
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", answer)])
"""

Call = Callable[[Client, random.Random, np.random.Generator], None]


def write_models(repository: Path) -> None:
    every_input = {f"IN_{name}": (name, [-1]) for name in DTYPES}
    every_output = {f"OUT_{name}": (name, [-1]) for name in DTYPES}
    everything = config(every_input, every_output, optional=tuple(every_input))
    two = "instance_group [ { count: 2 kind: KIND_CPU } ]"
    write_model(repository, "soak_identity", IDENTITY, everything + two)
    write_model(repository, "soak_caller", CALLER, everything)
    numbers = ({"IN": ("FP32", [-1])}, {"OUT": ("FP32", [-1])})
    batched = config(
        *numbers, max_batch_size=16, more="dynamic_batching { max_queue_delay_microseconds: 500 }"
    )
    write_model(repository, "soak_doubler", DOUBLER, batched)
    write_model(repository, "soak_keeper", KEEPER, config(*numbers))


@dataclass
class Memory:
    """Bytes, at one moment: of the server's own, of its mapped shared memory, and of its stubs' own."""

    server: int
    shared: int
    stubs: int

    @staticmethod
    def of(server: TritonServer) -> Memory:
        own = status_of(server.pid)
        stubs = sum(status_of(stub.pid).get("RssAnon", 0) for stub in server.stubs())
        return Memory(own.get("RssAnon", 0), own.get("RssShmem", 0), stubs)


@dataclass
class Soak:
    """What was seen: answers by model, answers that were wrong, and the memory over time."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)

    def run(self, server: TritonServer, minutes: float, seed: int) -> None:
        """Return after so many minutes, or sooner when an answer is wrong."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=self._ask, args=(server, PROTOCOLS[i % 2], seed + i, stop))
            for i in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + minutes * 60
        while time.monotonic() < end and not self.wrong and server.is_live():
            stop.wait(SAMPLE_SECONDS)
            self.memory.append(Memory.of(server))
        stop.set()
        for thread in threads:
            thread.join()

    def _ask(self, server: TritonServer, protocol: str, seed: int, stop: threading.Event) -> None:
        choice, numbers = random.Random(seed), np.random.default_rng(seed)
        with Client(server, protocol) as client:
            while not stop.is_set() and not self.wrong:
                name, call = choice.choice(CALLS)
                try:
                    call(client, choice, numbers)
                except Exception as error:  # whatever it is, it is an answer that was not right
                    self.wrong.append(f"{name} over {protocol} (seed {seed}): {error!r}: {error}")
                self.answers[name] += 1


def _identity(model: str) -> Call:
    def call(client: Client, choice: random.Random, numbers: np.random.Generator) -> None:
        types = choice.sample(sorted(DTYPES), choice.randint(1, 3))
        inputs = {f"IN_{name}": _array(name, _size(choice), numbers) for name in types}
        outputs = client.infer(model, inputs, [f"OUT_{name}" for name in types])
        for name in types:
            _same(inputs[f"IN_{name}"], outputs[f"OUT_{name}"])

    return call


def _doubler(client: Client, choice: random.Random, numbers: np.random.Generator) -> None:
    array = numbers.random((choice.randint(1, 4), choice.choice((1, 100, 5000))), dtype=np.float32)
    _same(array * 2, client.infer("soak_doubler", {"IN": array})["OUT"])


def _keeper(client: Client, choice: random.Random, numbers: np.random.Generator) -> None:
    array = numbers.random(_size(choice), dtype=np.float32)
    if array.size % 7 == 3:
        try:
            client.infer("soak_keeper", {"IN": array})
        except InferenceServerException as error:
            if "three of seven" not in str(error):
                raise
            return
        raise AssertionError("was to be refused")
    _same(array + 1, client.infer("soak_keeper", {"IN": array})["OUT"])


CALLS: list[tuple[str, Call]] = [
    ("soak_identity", _identity("soak_identity")),
    ("soak_caller", _identity("soak_caller")),
    ("soak_doubler", _doubler),
    ("soak_keeper", _keeper),
]


def _size(choice: random.Random) -> int:
    return int(MOST_ELEMENTS ** choice.random())


def _array(data_type: str, size: int, numbers: np.random.Generator) -> np.ndarray:
    if data_type == "STRING":
        size = min(size, 20000)
        lengths = numbers.integers(0, 40, size)
        letters = numbers.bytes(int(lengths.sum()))
        ends = np.cumsum(lengths)
        return np.array([letters[end - length : end] for end, length in zip(ends, lengths)], dtype=object)
    dtype = np.dtype(DTYPES[data_type])
    array = np.frombuffer(numbers.bytes(size * dtype.itemsize), np.uint8)
    return array % 2 == 1 if data_type == "BOOL" else array.view(dtype)


def _same(expected: np.ndarray, got: np.ndarray) -> None:
    assert got is not None
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    if expected.dtype == np.object_:
        assert got.tolist() == expected.tolist(), "other strings"
    else:
        assert got.dtype == expected.dtype
        assert got.tobytes() == expected.tobytes(), "other numbers"


def status_of(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return dict(_sizes(lines))


def _sizes(lines: list[str]) -> Iterator[tuple[str, int]]:
    for line in lines:
        name, _, value = line.partition(":")
        if name.startswith("Rss"):
            yield name, int(value.split()[0]) * 1024
