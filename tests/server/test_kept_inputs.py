"""Inputs that a model keeps or writes to: a share of the memory is theirs, nobody else sees the writing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.http
from serving.client import Client
from serving.metrics import memory
from serving.repository import config, identity_config
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until
from tritonclient.utils import shared_memory

MIB = 1 << 20
# Of both arenas; a model may keep a quarter of the one for inputs in place.
LIMIT = 64 * MIB
SHARE = LIMIT // 2 // 4
# int32 numbers in an input of one MiB.
ONE_MIB = MIB // 4
KEEPS_TOO_MUCH = "bytes of input tensors beyond their requests"

HEAD = """
import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils


def answer(**arrays):
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in arrays.items()])


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request.inputs()[0]) for request in requests]
"""
# Keeps every input and says whether it is a copy; lets go of all when it gets -1.
KEEPING = (
    HEAD
    + """
    kept = []

    def one(self, tensor):
        array = tensor.as_numpy()
        if array[0] == -1:
            threads = [threading.Thread(target=self.kept.clear)]
            threads[0].start()
            threads[0].join()
        else:
            self.kept.append(array)
        wrong = sum(bool((one != number).any()) for number, one in enumerate(self.kept))
        return answer(OUT=np.array([array.flags.owndata, wrong], np.int32))
"""
)


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    return {"metrics": True, "settings": {"shm-max-byte-size": str(LIMIT)}}


def filled(number: int, size: int = ONE_MIB) -> np.ndarray:
    return np.full(size, number, np.int32)


def copies(client: Client, model: str, count: int) -> list[bool]:
    """Which of so many inputs, that the model keeps from here on, it got as copies; all stay right."""
    found = []
    for number in range(count):
        copied, wrong = client.infer(model, {"IN": filled(number)})["OUT"]
        assert wrong == 0
        found.append(bool(copied))
    return found


def test_inputs_beyond_a_share_are_copies_until_the_model_lets_go(
    load: Load, http: Client, server: TritonServer
) -> None:
    """More is kept than there is shared memory; the server's log tells once."""
    model = load(KEEPING, identity_config("INT32"))
    log_before = len(server.log())

    for _ in range(2):
        found = copies(http, model, LIMIT // MIB + 10)
        # The block that went beyond the share is still a view.
        views = SHARE // MIB
        assert found[:views] == [False] * views
        assert found[views + 1 :] == [True] * (len(found) - views - 1)
        wait_until("the metric to grow", lambda: memory(server, model, "kept_inputs") >= SHARE)
        assert memory(server, model, "kept_inputs") <= SHARE + 2 * MIB
        http.infer(model, {"IN": filled(-1)})
        wait_until("what was kept to come back", lambda: memory(server, model, "kept_inputs") == 0)
        wait_until("the memory to be free", lambda: memory(server, model, "shm_used", "inputs") < MIB)

    told = [line for line in server.log()[log_before:].splitlines() if KEEPS_TOO_MUCH in line]
    assert len(told) == 1
    assert model in told[0]


def test_tensors_that_nobody_looks_at_may_be_kept_beyond_the_share(load: Load, http: Client) -> None:
    """Whole requests, each of which would hold its blocks."""
    model = load(
        """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    kept = []

    def execute(self, requests):
        self.kept += requests
        wrong = 0
        if len(self.kept) % 40 == 0:
            for number, request in enumerate(self.kept):
                wrong += bool((request.inputs()[0].as_numpy() != number).any())
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([wrong], np.int32))])]
""",
        identity_config("INT32"),
    )

    for number in range(LIMIT // MIB + 16):
        assert http.infer(model, {"IN": filled(number)})["OUT"].tolist() == [0]


def test_inputs_may_live_until_the_interpreter_ends(load: Load, http: Client, server: TritonServer) -> None:
    """In a module, in a thread and in an object that dies when everything else is gone."""
    model = load(
        HEAD
        + """
    arrays = []

    def one(self, tensor):
        array = tensor.as_numpy()
        self.arrays.append(array)
        np.kept_by_a_test = array[1:]
        self.me = self
        self.tensor = tensor
        forever = threading.Event()
        threading.Thread(target=lambda mine: forever.wait(), args=(array,), daemon=True).start()
        return answer(OUT=array[:1])
""",
        identity_config("INT32"),
    )
    for number in range(5):
        assert http.infer(model, {"IN": filled(number)})["OUT"].tolist() == [number]
    log_before = len(server.log())

    http.unload(model)

    assert "stub process" not in server.log()[log_before:]
    assert server.is_live()


BATCH_OF_TWO = "dynamic_batching { preferred_batch_size: [2] max_queue_delay_microseconds: 60000000 }"


def test_writing_to_an_input_changes_no_other_request_of_the_batch(load: Load, server: TritonServer) -> None:
    """The model writes to all inputs of the first, before it looks at those of the second."""
    tensors = {name: ("INT32", [-1]) for name in ("A", "B")}
    model = load(
        """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        assert len(requests) == 2
        for tensor in requests[0].inputs():
            tensor.as_numpy()[...] = -1
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(t.name(), t.as_numpy()) for t in request.inputs()])
            for request in requests
        ]
""",
        config(tensors, tensors, max_batch_size=2, more=BATCH_OF_TWO),
    )

    def ask(number: int) -> dict[str, np.ndarray]:
        with Client(server) as client:
            return client.infer(model, {"A": filled(number)[None], "B": filled(10 + number)[None]})

    with ThreadPoolExecutor(2) as pool:
        got = list(pool.map(ask, (1, 2)))

    right = [(one["A"] == n).all() and (one["B"] == 10 + n).all() for n, one in enumerate(got, 1)]
    written = [(one["A"] == -1).all() and (one["B"] == -1).all() for one in got]
    assert sorted(right) == [False, True]
    assert written == [not one for one in right]


def test_writing_to_one_input_changes_no_other_input_and_nothing_of_the_client(
    load: Load, server: TritonServer, model_name: str
) -> None:
    """Both inputs are the same memory of the client, who shares it with the server."""
    tensors = {name: ("INT32", [-1]) for name in ("A", "B")}
    model = load(
        """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        first, second = requests[0].inputs()
        first.as_numpy()[...] = -1
        return [pb_utils.InferenceResponse([pb_utils.Tensor("A", second.as_numpy())])]
""",
        config(tensors, {"A": ("INT32", [-1])}),
    )
    sent = filled(7)
    key = f"/{server.region_prefix}client"
    region = shared_memory.create_shared_memory_region("client", key, sent.nbytes)
    try:
        shared_memory.set_shared_memory_region(region, [sent])
        with Client(server) as client:
            client.raw.register_system_shared_memory("client", key, sent.nbytes)
            inputs = [tritonclient.http.InferInput(name, [ONE_MIB], "INT32") for name in tensors]
            for one in inputs:
                one.set_shared_memory("client", sent.nbytes)
            got = client.raw.infer(model, inputs).as_numpy("A")
            client.raw.unregister_system_shared_memory("client")

        assert np.array_equal(got, sent)
        assert np.array_equal(shared_memory.get_contents_as_numpy(region, np.int32, [ONE_MIB]), sent)
    finally:
        shared_memory.destroy_shared_memory_region(region)


@pytest.mark.parametrize("output", ["array", "array + 0"], ids=["passed through", "its own"])
def test_an_output_that_the_model_keeps_and_writes_to_goes_out_as_it_was_at_one_moment(
    load: Load, http: Client, output: str
) -> None:
    """A thread of the model writes all of it again and again, holding the GIL each time."""
    model = load(
        HEAD
        + f"""
    kept = None

    def initialize(self, args):
        threading.Thread(target=self.write, daemon=True).start()

    def write(self):
        patterns = [np.full({4 * ONE_MIB}, number, np.int32).tobytes() for number in range(20)]
        while True:
            for pattern in patterns:
                if self.kept is not None:
                    self.kept[:] = pattern

    def one(self, tensor):
        array = tensor.as_numpy()
        array = {output}
        self.kept = memoryview(array).cast("B")
        while array[0] == -1:
            time.sleep(0)  # the thread writes
        return answer(OUT=array)
""",
        identity_config("INT32"),
    )
    seen = set()
    for _ in range(60):
        got = http.infer(model, {"IN": filled(-1, 4 * ONE_MIB)})["OUT"]
        assert (got == got[0]).all()
        seen.add(int(got[0]))
    assert len(seen) > 1, "the thread has written but once"
