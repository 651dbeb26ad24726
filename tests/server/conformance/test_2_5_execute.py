"""What execute may return, and what becomes of the requests of a batch that fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from serving.client import Client
from serving.decoupled import model_of
from serving.repository import config, identity_config
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

ONE = {"IN": np.array([1], np.int32)}
FOUR_AT_ONCE = identity_config(
    "INT32",
    max_batch_size=4,
    more="dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 20000000 }",
)


def ask_four(server: TritonServer, model: str) -> list[str]:
    """What the requests 0 to 3 of one batch end with: the numbers, or the error."""

    def ask(number: int) -> str:
        with Client(server) as client:
            try:
                return str(client.infer(model, {"IN": np.array([[number]], np.int32)})["OUT"].tolist())
            except Exception as error:
                return str(error)

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(ask, range(4)))


def test_an_exception_answers_all_requests_of_a_batch(load: Load, server: TritonServer) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            assert len(requests) == 4
            raise ValueError("not today")
        """),
        FOUR_AT_ONCE,
    )
    start = len(server.log())
    answers = ask_four(server, model)
    assert ["ValueError: not today\n\nAt:\n" in answer for answer in answers] == [True] * 4
    wait_until("the log to tell of it", lambda: "ValueError: not today" in server.log()[start:])


@pytest.mark.differs("closed-and-raised", run=False)
def test_an_exception_answers_those_that_no_sender_has_answered(load: Load, server: TritonServer) -> None:
    """The senders of the others are closed from then on."""
    model = load(
        model_of("""
        def execute(self, requests):
            assert len(requests) == 4
            senders = {int(numbers(one)[0][0]): one.get_response_sender() for one in requests}
            own = pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([[7]], np.int32))])
            senders[1].send(own, FINAL)
            threading.Thread(target=self.late, args=[senders[2]]).start()
            raise ValueError("too late")

        def late(self, sender):
            time.sleep(1)
            try:
                sender.send(response(1), FINAL)
            except pb_utils.TritonModelException as error:
                print(f"late: {error}", flush=True)
        """),
        FOUR_AT_ONCE,
    )
    answers = ask_four(server, model)
    assert answers[1] == "[[7]]"
    for number in (0, 2, 3):
        assert "ValueError: too late" in answers[number]
    closed = "late: Unable to send response. Response sender has been closed."
    wait_until("the sender to be refused", lambda: closed in server.log())


def test_a_list_of_the_wrong_length_answers_all(load: Load, server: TritonServer) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            return [response(1)] * 3
        """),
        FOUR_AT_ONCE,
    )
    text = (
        "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
        "InferenceRequest(s) size is:4, and InferenceResponse(s) size is:3\n"
    )
    assert [text in answer for answer in ask_four(server, model)] == [True] * 4


def test_an_output_may_have_another_type_and_shape_than_the_configuration_says(
    load: Load, client: Client
) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            array = np.arange(6, dtype=np.int64).reshape(2, 3)
            return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)]) for _ in requests]
        """),
        config({"IN": ("INT32", [-1])}, {"OUT": ("FP32", [4])}),
    )
    got = client.infer(model, ONE)["OUT"]
    assert (got.dtype, got.tolist()) == (np.int64, [[0, 1, 2], [3, 4, 5]])


def test_an_output_that_the_configuration_does_not_have_is_left_out(load: Load, client: Client) -> None:
    """A request that names no outputs asks for those of the configuration."""
    model = load(
        model_of("""
        def execute(self, requests):
            more = pb_utils.Tensor("MORE", np.array([2], np.int32))
            own = pb_utils.Tensor("OUT", np.array([1], np.int32))
            return [pb_utils.InferenceResponse([own, more]) for _ in requests]
        """),
        identity_config("INT32"),
    )
    assert {name: array.tolist() for name, array in client.infer(model, ONE).items()} == {"OUT": [1]}


def test_a_response_without_outputs_is_an_answer(load: Load, client: Client) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            return [pb_utils.InferenceResponse([]) for _ in requests]
        """),
        identity_config("INT32"),
    )
    assert client.infer(model, ONE) == {}


def test_async_batches_do_not_overlap(load: Load, server: TritonServer) -> None:
    """While a coroutine waits no other batch begins."""
    model = load(
        "import asyncio\n"
        + model_of("""
        running = 0

        async def execute(self, requests):
            self.running += 1
            seen = self.running
            await asyncio.sleep(0.05)
            seen = max(seen, self.running)
            self.running -= 1
            return [response(seen) for _ in requests]
        """),
        identity_config("INT32"),
    )

    def ask(_: int) -> list[int]:
        with Client(server) as client:
            return list(client.infer(model, ONE)["OUT"].tolist())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(8))) == [[1]] * 8


@pytest.mark.parametrize("kept", ["request", "request.inputs()[0]", "request.inputs()[0].as_numpy()"])
def test_what_a_model_keeps_of_a_request_stays_as_it_was(load: Load, http: Client, kept: str) -> None:
    model = load(
        model_of(f"""
        kept = []

        def execute(self, requests):
            for request in requests:
                self.kept.append({kept})
            return [response(self.number(self.kept[0])) for _ in requests]

        def number(self, one):
            if isinstance(one, pb_utils.InferenceRequest):
                one = one.inputs()[0]
            array = one.as_numpy() if isinstance(one, pb_utils.Tensor) else one
            assert (array == array[0]).all()
            return int(array[0])
        """),
        identity_config("INT32"),
    )
    for number in range(5, 15):
        sent = {"IN": np.full(20_000, number, np.int32)}
        assert http.infer(model, sent)["OUT"].tolist() == [5]
