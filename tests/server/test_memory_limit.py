"""shm-max-byte-size: what does not fit is refused with the documented words, and everything else goes on."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, identity_config, model_code, write_model
from serving.server import TritonServer
from serving.types import Load, StartServer
from serving.waiting import wait_until
from tritonclient.utils import InferenceServerException

MIB = 1 << 20
# Half of it for inputs, half for outputs, but for some pages.
LIMIT = 8 * MIB
GREW = re.compile(
    r"Failed to increase the shared memory pool size to (\d+) bytes: the limit is \d+ bytes, of"
)
ONE = {"IN": np.array([1], np.float32)}

ONES_MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        sizes = [int(request.inputs()[0].as_numpy().flat[0]) for request in requests]
        arrays = [np.ones((1, size), np.float32) for size in sizes]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)]) for array in arrays]
"""
# Requests of different shapes may form one batch, too.
BATCH_OF_TWO = identity_config(
    max_batch_size=2,
    more="dynamic_batching { preferred_batch_size: [2] max_queue_delay_microseconds: 60000000 }",
).replace("dims: [-1]", "dims: [-1] allow_ragged_batch: true", 1)


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    return {"settings": {"shm-max-byte-size": str(LIMIT)}}


def size_asked_for(error: str) -> int:
    """In whole MiB: beside the tensors there are messages."""
    found = GREW.search(error)
    assert found, error
    assert "--backend-config=python,shm-max-byte-size" in error
    return int(found[1]) // MIB


def both(server: TritonServer, model: str, arrays: list[np.ndarray]) -> list[np.ndarray | str]:
    """The answers, or the errors, to two requests of one batch."""

    def ask(array: np.ndarray) -> np.ndarray | str:
        with Client(server) as client:
            try:
                return client.infer(model, {"IN": array})["OUT"]
            except InferenceServerException as error:
                return str(error.message())

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(ask, arrays))


def test_an_input_beyond_the_limit_is_refused_and_others_go_on(load: Load, client: Client) -> None:
    model = load(model_code("identity"), identity_config())

    for _ in range(3):
        error = client.error(model, {"IN": np.zeros(16 * MIB // 4, np.float32)})
        assert size_asked_for(error) == 16
        assert client.infer(model, ONE)["OUT"].tolist() == [1]


def test_an_output_beyond_the_limit_is_refused_and_others_go_on(load: Load, client: Client) -> None:
    model = load(ONES_MODEL, config({"IN": ("FP32", [-1])}, {"OUT": ("FP32", [1, -1])}))

    for _ in range(3):
        error = client.error(model, {"IN": np.array([16 * MIB // 4], np.float32)})
        assert size_asked_for(error) == 16
        assert client.infer(model, {"IN": np.array([3], np.float32)})["OUT"].tolist() == [[1, 1, 1]]


def test_requests_that_fit_only_one_by_one_are_all_answered(load: Load, server: TritonServer) -> None:
    """The model then sees them one by one, and the log tells so, once."""
    model = load(model_code("identity"), BATCH_OF_TWO)
    log_before = len(server.log())

    for _ in range(3):
        arrays = [np.full((1, 3 * MIB // 4), number, np.float32) for number in (1, 2)]
        got = both(server, model, arrays)
        assert all(np.array_equal(one, array) for one, array in zip(got, arrays))

    told = [line for line in server.log()[log_before:].splitlines() if "are executed one by one" in line]
    assert len(told) == 1
    assert model in told[0]


def test_a_request_beyond_the_limit_does_no_harm_to_the_other_of_its_batch(
    load: Load, server: TritonServer
) -> None:
    model = load(model_code("identity"), BATCH_OF_TWO)
    small, large = np.full((1, 10), 5, np.float32), np.zeros((1, 2 * MIB), np.float32)

    for arrays in ([small, large], [large, small]):
        answers = {array.size: got for array, got in zip(arrays, both(server, model, arrays))}
        assert size_asked_for(str(answers[large.size])) == 8
        assert np.array_equal(answers[small.size], small)


def test_outputs_that_fit_only_one_by_one_harm_only_those_that_come_last(
    load: Load, server: TritonServer
) -> None:
    model = load(ONES_MODEL, BATCH_OF_TWO)
    elements = 3 * MIB // 4

    got = both(server, model, [np.full((1, 1), elements, np.float32)] * 2)

    (error,) = (one for one in got if isinstance(one, str))
    (right,) = (one for one in got if not isinstance(one, str))
    assert size_asked_for(error) == 6
    assert np.array_equal(right, np.ones((1, elements), np.float32))


KEEPING_MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    kept = None

    def execute(self, requests):
        array = requests[0].inputs()[0].as_numpy()
        self.kept = array if array[0] == 1 else None
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array[:1])])]
"""


def test_all_instances_together_stay_below_the_limit_for_the_server(start_server: StartServer) -> None:
    """What one holds another cannot have, until it is given back."""
    settings = {"shm-total-max-byte-size": str(64 * MIB), "shm-release-after-seconds": "1"}
    server = start_server(settings=settings)
    for name in ("one", "other"):
        write_model(server.start.repository, name, KEEPING_MODEL, identity_config())
    with Client(server) as client:
        client.load("one")
        client.load("other")
        large = np.zeros(40 * MIB // 4, np.float32)
        large[0] = 1
        assert client.infer("one", {"IN": large})["OUT"].tolist() == [1]

        error = client.error("other", {"IN": large})

        assert error.startswith("Failed to increase the shared memory pool size to ")
        assert f"all model instances together may take {64 * MIB} bytes" in error
        assert "--backend-config=python,shm-total-max-byte-size" in error
        assert client.infer("other", ONE)["OUT"].tolist() == [1]
        assert client.infer("one", {"IN": np.array([2], np.float32)})["OUT"].tolist() == [2]

        def answered() -> bool:
            try:
                return bool(client.infer("other", {"IN": large})["OUT"].tolist() == [1])
            except InferenceServerException:
                return False

        wait_until("the first to give its memory back", answered)
