"""Calls of models that answer with any number of responses: exec(decoupled=True)."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving.calls import CALLER_CONFIG, ask, caller
from serving.client import Client
from serving.decoupled import CONFIG, model_of
from serving.repository import identity_config, model_code, write_model
from serving.types import Load, Settle, StartServer

REPEAT = model_of("""
def execute(self, requests):
    for request in requests:
        sender = request.get_response_sender()
        for number in numbers(request):
            sender.send(response(number))
        sender.send(flags=FINAL)
""")
# Answers `count` times until it is cancelled; says how often through a file.
ENDLESS = model_of("""
def execute(self, requests):
    for request in requests:
        threading.Thread(target=self.answer, args=[request]).start()

def answer(self, request):
    sender = request.get_response_sender()
    sent = 0
    while not request.is_cancelled() and sent < 100000:
        sender.send(response(sent))
        sent += 1
        time.sleep(0.001)
    sender.send(response(error="it was cancelled" if request.is_cancelled() else "it was not"), FINAL)
""")
STREAM = """
import asyncio


def read(responses):
    return [one_of(response) for response in responses]


def one_of(response):
    if response.has_error():
        return "error: " + response.error().message()
    return [tensor.as_numpy().tolist() for tensor in response.output_tensors()]
"""


def streaming(one: str, more: str = "") -> str:
    return caller(one, more).replace("class TritonPythonModel", STREAM + "\n\nclass TritonPythonModel", 1)


def test_responses_come_one_by_one_and_then_the_end(load: Load, http: Client, settle: Settle) -> None:
    """The end of such a stream is a response of its own, without outputs."""
    child = load(REPEAT, CONFIG)
    model = load(
        streaming("""
        numbers = told.get("numbers", [])
        return read(request(child, {"IN": ints(*numbers)}).exec(decoupled=True))
        """),
        CALLER_CONFIG,
    )
    settle(model, child)
    assert ask(http, model, child=child, numbers=[4, 5, 6]) == [[[4]], [[5]], [[6]], []]
    assert ask(http, model, child=child, numbers=[]) == [[]]
    many = list(range(3000))
    assert ask(http, model, child=child, numbers=many) == [*([[number]] for number in many), []]


def test_the_end_with_the_last_response(load: Load, http: Client) -> None:
    child = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                request.get_response_sender().send(response(*numbers(request)), FINAL)
        """),
        CONFIG,
    )
    model = load(
        streaming('return read(request(child, {"IN": ints(1, 2)}).exec(decoupled=True))'), CALLER_CONFIG
    )
    assert ask(http, model, child=child) == [[[1, 2]]]


def test_a_model_that_answers_once(load: Load, http: Client) -> None:
    child = load(model_code("identity"), identity_config("INT32"))
    model = load(
        streaming('return read(request(child, {"IN": ints(3)}).exec(decoupled=True))'), CALLER_CONFIG
    )
    assert ask(http, model, child=child) == [[[3]]]


def test_an_iterator_is_its_own_and_can_be_replayed(load: Load, http: Client) -> None:
    child = load(REPEAT, CONFIG)
    model = load(
        streaming("""
        responses = request(child, {"IN": ints(1, 2)}).exec(decoupled=True)
        same = iter(responses) is responses
        first = read(responses)
        try:
            next(responses)
            text = "one more"
        except StopIteration as end:
            text = str(end)
        return [same, first, text, read(responses), read(responses)]
        """),
        CALLER_CONFIG,
    )
    same, first, text, *again = ask(http, model, child=child)
    assert same
    assert first == [[[1]], [[2]], []]
    assert text == "Iteration is done for the responses."
    assert again == [first, first]


def test_a_decoupled_model_needs_the_argument(load: Load, http: Client) -> None:
    child = load(REPEAT, CONFIG)
    model = load(caller('return text_of(request(child, {"IN": ints(1)}).exec())'), CALLER_CONFIG)
    assert ask(http, model, child=child) == (
        f"Model {child} - Error when running inference: Model {child} is using the decoupled. "
        "The current BLS request call doesn't support models using the decoupled transaction policy. "
        "Please use 'decoupled=True' argument to the 'exec' or 'async_exec' calls for decoupled models.'"
    )


def test_a_call_that_cannot_be_made_is_one_error(load: Load, http: Client) -> None:
    model = load(streaming('return read(request("nobody", {}).exec(decoupled=True))'), CALLER_CONFIG)
    (only,) = ask(http, model, child="")
    assert only == (
        "error: Model nobody - Error when running inference: Failed for execute the inference request. "
        "Model 'nobody' is not ready."
    )


@pytest.mark.differs("error-in-stream")
def test_errors_of_the_other_model_are_responses(load: Load, http: Client) -> None:
    child = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                sender.send(response(1))
                sender.send(response(error="in between"))
                sender.send(response(2))
                sender.send(flags=FINAL)
        """),
        CONFIG,
    )
    model = load(
        streaming('return read(request(child, {"IN": ints(1)}).exec(decoupled=True))'), CALLER_CONFIG
    )
    assert ask(http, model, child=child) == [[[1]], "error: in between", [[2]], []]


@pytest.mark.newer("25.04")
def test_a_stream_is_cancelled(load: Load, http: Client, settle: Settle) -> None:
    child = load(ENDLESS, CONFIG)
    model = load(
        streaming("""
        if not told.get("count", 1):
            return None
        responses = request(child, {"IN": ints(1)}).exec(decoupled=True)
        next(responses)
        responses.cancel()
        last = read(responses)[-1]
        responses.cancel()  # nothing after the end
        return last
        """),
        CALLER_CONFIG,
    )
    settle(model, child)
    assert ask(http, model, child=child) == "error: it was cancelled"


@pytest.mark.differs("dropped-iterator", run=False)
def test_a_stream_that_is_dropped_is_cancelled_and_leaves_nothing(
    load: Load, http: Client, settle: Settle
) -> None:
    child = load(ENDLESS, CONFIG)
    model = load(
        streaming("""
        for _ in range(told["count"]):
            next(request(child, {"IN": ints(1)}).exec(decoupled=True))
        return "went on"
        """),
        CALLER_CONFIG,
    )
    settle(model, child)
    assert ask(http, model, child=child, count=20) == "went on"
    http.unload(child)  # which waits for its requests


def test_a_slow_reader_loses_nothing(load: Load, http: Client) -> None:
    child = load(REPEAT, CONFIG)
    model = load(
        streaming("""
        responses = request(child, {"IN": ints(*range(2000))}).exec(decoupled=True)
        numbers = []
        for one in responses:
            if len(numbers) % 100 == 0:
                threading.Event().wait(0.01)
            numbers += [t.as_numpy().tolist()[0] for t in one.output_tensors()]
        return numbers == list(range(2000))
        """),
        CALLER_CONFIG,
    )
    assert ask(http, model, child=child) is True


@pytest.mark.parametrize("threads", [8])
def test_streams_from_many_threads(load: Load, http: Client, threads: int) -> None:
    child = load(REPEAT, CONFIG)
    model = load(
        streaming("""
        answers = {}

        def work(one):
            got = read(request(child, {"IN": ints(*range(one, one + 50))}).exec(decoupled=True))
            answers[one] = got == [[[number]] for number in range(one, one + 50)] + [[]]

        workers = [threading.Thread(target=work, args=[one]) for one in range(told["threads"])]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return answers
        """),
        CALLER_CONFIG,
    )
    assert set(ask(http, model, child=child, threads=threads).values()) == {True}


# --- asyncio ---


@pytest.mark.differs("async-exec-threads", run=False)
def test_hundreds_of_calls_in_flight_from_a_loop(load: Load, http: Client, settle: Settle) -> None:
    """No thread waits for a call."""
    child = load(
        model_of("""
        def initialize(self, args):
            self.held = []

        def execute(self, requests):
            self.held += requests
            if len(self.held) >= 200:
                held, self.held = self.held, []
                for one in held:
                    one.get_response_sender().send(response(*numbers(one)), FINAL)
        """),
        identity_config("INT32"),
    )
    model = load(
        streaming("""
        async def one(number):
            response = await request(child, {"IN": ints(number)}).async_exec()
            return arrays(response)["OUT"].tolist()

        async def all():
            before = threading.active_count()
            got = await asyncio.gather(*(one(number) for number in range(told["count"])))
            return [got == [[number] for number in range(told["count"])], threading.active_count() - before]

        return asyncio.run(all())
        """),
        CALLER_CONFIG,
    )
    settle(model, child)
    right, threads = ask(http, model, child=child, count=200)
    assert right
    assert threads <= 1
    assert ask(http, model, child=child, count=400) == [True, 0]


def test_async_exec_needs_a_loop(load: Load, http: Client) -> None:
    model = load(
        streaming("""
        try:
            request("nobody").async_exec()
        except RuntimeError as error:
            return str(error)
        """),
        CALLER_CONFIG,
    )
    assert ask(http, model, child="") == "no running event loop"


def test_streams_from_a_loop(load: Load, http: Client) -> None:
    child = load(REPEAT, CONFIG)
    model = load(
        streaming("""
        async def all():
            return await asyncio.gather(
                *(request(child, {"IN": ints(*range(one))}).async_exec(decoupled=True) for one in range(5))
            )

        return [read(responses) for responses in asyncio.run(all())]
        """),
        CALLER_CONFIG,
    )
    assert ask(http, model, child=child) == [[*([[n]] for n in range(one)), []] for one in range(5)]


def test_errors_of_calls_from_a_loop(load: Load, http: Client) -> None:
    model = load(
        streaming("""
        async def one():
            return await request("nobody").async_exec()

        return text_of(asyncio.run(one()))
        """),
        CALLER_CONFIG,
    )
    assert ask(http, model, child="") == (
        "Model nobody - Error when running inference: Failed for execute the inference request. "
        "Model 'nobody' is not ready."
    )


@pytest.mark.differs("cancelled-future", run=False)
def test_a_future_that_is_cancelled_cancels_its_call(load: Load, http: Client, tmp_path: Path) -> None:
    """The other model, which answers nobody before, is told."""
    notes = str(tmp_path)
    child = load(
        model_of(f"""
        def execute(self, requests):
            open("{notes}/began", "w").close()
            while not requests[0].is_cancelled():
                time.sleep(0.001)
            open("{notes}/cancelled", "w").close()
            return [response(1) for _ in requests]
        """),
        identity_config("INT32"),
    )
    model = load(
        streaming("""
        async def give_up():
            call = request(child, {"IN": ints(1)}).async_exec()
            while not os.path.exists(told["notes"] + "/began"):
                await asyncio.sleep(0.001)
            call.cancel()
            while not os.path.exists(told["notes"] + "/cancelled"):
                await asyncio.sleep(0.001)
            return call.cancelled()

        return asyncio.run(give_up())
        """),
        CALLER_CONFIG,
    )
    assert ask(http, model, child=child, notes=notes) is True


@pytest.mark.differs("slow-reader", run=False)
def test_a_reader_that_does_not_read_is_bounded(start_server: StartServer, tmp_path: Path) -> None:
    """It gets what there was room for, and then one error; the other model is told to stop."""
    server = start_server(settings={"shm-max-byte-size": str(16 << 20)})
    write_model(
        server.start.repository,
        "child",
        model_of(f"""
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                number = 0
                while not sender.is_cancelled():
                    sender.send(response(*[number] * (1 << 16)))
                    number += 1
                sender.send(flags=FINAL)
                open("{tmp_path}/stopped", "w").close()
        """),
        CONFIG,
    )
    write_model(
        server.start.repository,
        "caller",
        streaming("""
        responses = request(child, {"IN": ints(1)}).exec(decoupled=True)
        while not os.path.exists(told["notes"] + "/stopped"):
            threading.Event().wait(0.001)
        got = read(responses)
        return [[one[0][0] for one in got[:-1]], got[-1]]
        """),
        CALLER_CONFIG,
    )
    with Client(server) as client:
        client.load("child")
        client.load("caller")
        numbers, last = ask(client, "caller", child="child", notes=str(tmp_path))
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 8
    assert last.startswith(
        "error: Model child - Error when running inference: there is no room for more responses in the "
        "caller's shared memory: the call was cancelled."
    )
