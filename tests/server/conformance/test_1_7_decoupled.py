"""Decoupled models: any number of responses to a request, from any thread, in execute and after it."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.grpc
from serving.client import Client
from serving.decoupled import CONFIG, DECOUPLED, ints, model_of, outs
from serving.repository import config
from serving.server import TritonServer
from serving.stream import Stream
from serving.types import Load
from serving.waiting import wait_until


def test_responses_before_execute_returns(load: Load, stream: Stream) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                for number in numbers(request):
                    sender.send(response(number))
                sender.send(flags=FINAL)
        """),
        CONFIG,
    )
    assert outs(stream.ask(model, ints(3, 1, 2))) == [[3], [1], [2]]
    assert outs(stream.ask(model, ints())) == []


def test_the_last_response_may_carry_the_final_flag(load: Load, stream: Stream) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                request.get_response_sender().send(response(7), FINAL)
        """),
        CONFIG,
    )
    responses = stream.ask(model, ints(1))
    assert outs(responses) == [[7]]
    assert responses[0].final


def test_responses_from_threads_after_execute_has_returned(load: Load, stream: Stream) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                threading.Thread(target=self.answer, args=[sender, numbers(request)]).start()

        def answer(self, sender, wanted):
            for number in wanted:
                sender.send(response(number))
            sender.send(flags=FINAL)
        """),
        CONFIG,
    )
    for number in range(5):
        stream.send(model, ints(*range(number * 10)), request=str(number))
    got: dict[str, list[int]] = {str(number): [] for number in range(5)}
    finals = 0
    while finals < 5:
        one = stream.next()
        finals += one.final
        if "OUT" in one.outputs:
            got[one.request] += one.outputs["OUT"].tolist()
    assert got == {str(number): list(range(number * 10)) for number in range(5)}


def test_a_request_kept_beyond_execute_gives_its_sender_later(load: Load, stream: Stream) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            threading.Thread(target=self.answer, args=[requests]).start()

        def answer(self, requests):
            time.sleep(0.05)
            for request in requests:
                request.get_response_sender().send(response(*numbers(request)), FINAL)
        """),
        CONFIG,
    )
    assert outs(stream.ask(model, ints(1, 2))) == [[1, 2]]


def test_requests_may_be_answered_out_of_order(load: Load, stream: Stream) -> None:
    model = load(
        model_of("""
        def initialize(self, args):
            self.senders = []

        def execute(self, requests):
            for request in requests:
                self.senders.append((numbers(request)[0], request.get_response_sender()))
            if len(self.senders) == 4:
                for number, sender in reversed(self.senders):
                    sender.send(response(number), FINAL)
                self.senders.clear()
        """),
        CONFIG,
    )
    for number in range(4):
        stream.send(model, ints(number), request=str(number))
    assert [stream.next().request for _ in range(4)] == ["3", "2", "1", "0"]


@pytest.mark.differs("snapshot")
def test_a_response_is_what_its_tensors_held_when_it_was_sent(load: Load, stream: Stream) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                array = np.zeros(100000, np.int32)
                tensor = pb_utils.Tensor("OUT", array)
                for number in range(5):
                    array[:] = number
                    sender.send(pb_utils.InferenceResponse([tensor]))
                array[:] = 99
                sender.send(flags=FINAL)
        """),
        CONFIG,
    )
    got = [set(one) for one in outs(stream.ask(model, ints()))]
    assert got == [{0}, {1}, {2}, {3}, {4}]


def test_an_error_and_then_the_final_flag(load: Load, stream: Stream) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                sender.send(response(1))
                sender.send(response(error="not this one"))
                sender.send(response(2))
                sender.send(flags=FINAL)
        """),
        CONFIG,
    )
    stream.send(model, ints())
    got = [stream.next() for _ in range(4)]
    assert [one.error or one.outputs.get("OUT", np.array([])).tolist() for one in got] == [
        [1],
        "not this one",
        [2],
        [],
    ]


def test_outputs_that_were_not_asked_for_are_left_out(load: Load, stream: Stream) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                both = [pb_utils.Tensor(name, np.array([1], np.int32)) for name in ("OUT", "MORE")]
                request.get_response_sender().send(pb_utils.InferenceResponse(both), FINAL)
        """),
        config({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1]), "MORE": ("INT32", [-1])}, more=DECOUPLED),
    )
    wanted = [tritonclient.grpc.InferRequestedOutput("MORE")]
    assert [set(one.outputs) for one in stream.ask(model, ints(1), outputs=wanted)] == [{"MORE"}]


# There the client waits for ever, and so does the unload.
UNANSWERED = pytest.mark.differs("unanswered", run=False)
DROPPED = pytest.mark.differs("dropped-sender", run=False)
SENDER_ERRORS = [
    ("sender.send(response(1), 7)", "Unable to send response. Unsupported flag provided."),
    (
        "sender.send()",
        "Inference Response object must be provided when the response flags is set to zero.",
    ),
    (
        "sender.send(flags=FINAL); sender.send(response(1))",
        "Unable to send response. Response sender has been closed.",
    ),
    (
        "sender.send(flags=FINAL); sender.send(flags=FINAL)",
        "Unable to send response. Response sender has been closed.",
    ),
    (
        "pb_utils.InferenceRequest(inputs=[], requested_output_names=[], model_name='m')"
        ".get_response_sender().send(response(1))",
        "Unable to send response. Response sender has no reference to the decoupled state of the model.",
    ),
]


@pytest.mark.parametrize(("code", "text"), SENDER_ERRORS)
def test_what_a_sender_refuses(load: Load, stream: Stream, code: str, text: str) -> None:
    """Its caller learns of it; another request, which is open, carries the text to the client."""
    model = load(
        model_of(f"""
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                if numbers(request):
                    self.reporter = sender
                    continue
                try:
                    {code}
                except pb_utils.TritonModelException as error:
                    self.end(sender)
                    self.reporter.send(response(*str(error).encode()), FINAL)

        def end(self, sender):
            try:
                sender.send(flags=FINAL)
            except pb_utils.TritonModelException:
                pass  # it has ended
        """),
        CONFIG,
    )
    stream.send(model, ints(1), request="reporter")
    stream.send(model, ints(), request="refused")
    while not (one := stream.next()).outputs:
        pass
    assert bytes(one.outputs["OUT"].tolist()).decode() == text


def test_a_sender_is_asked_for_and_not_made(load: Load, stream: Stream) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                said = []
                for wrong in (type(sender), lambda: sender.send("text"), lambda: sender.send(None, "1")):
                    try:
                        wrong()
                    except TypeError as error:
                        said.append("No constructor defined" in str(error))
                name = type(sender).__module__ + "." + type(sender).__name__
                right = name == "c_python_backend_utils.InferenceResponseSender"
                sender.send(response(*said, right), FINAL)
        """),
        CONFIG,
    )
    assert outs(stream.ask(model, ints())) == [[1, 0, 0, 1]]


def test_the_sender_of_a_request_is_always_the_same(load: Load, stream: Stream) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                same = request.get_response_sender() is request.get_response_sender()
                request.get_response_sender().send(response(int(same)), FINAL)
        """),
        CONFIG,
    )
    assert outs(stream.ask(model, ints())) == [[1]]


# --- answers that do not come ---


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("pass", id="it does nothing", marks=UNANSWERED),
        pytest.param(
            "request.get_response_sender().send(response(1))", id="one response and no end", marks=DROPPED
        ),
        pytest.param("request.get_response_sender()", id="a sender that is dropped", marks=DROPPED),
        pytest.param(
            "kept = request.get_response_sender(); "
            "threading.Thread(target=lambda sender: time.sleep(0.05), args=[kept]).start(); del kept",
            id="a thread that drops it",
            marks=DROPPED,
        ),
        pytest.param(
            "threading.Thread(target=lambda one: time.sleep(0.05), args=[request]).start()",
            id="a thread that drops the request",
            marks=DROPPED,
        ),
    ],
)
def test_a_request_that_nobody_can_answer_any_more_ends_with_an_error(
    load: Load, server: TritonServer, http: Client, body: str
) -> None:
    model = load(
        model_of(f"""
        def execute(self, requests):
            for request in requests:
                {body}
            del request
        """),
        CONFIG,
    )
    # A core of Triton 2.51 holds the last request of a stream, and so its model, until the stream is closed.
    with Stream(server) as stream:
        responses = stream.ask(model, ints(1))
    assert responses[-1].error is not None
    assert responses[-1].error.startswith(
        f"Failed to process the request(s) for model '{model}_0', message: "
    )
    http.unload(model)


def test_an_exception_answers_every_request_that_is_open(
    load: Load, server: TritonServer, stream: Stream
) -> None:
    """Its sender is closed from then on."""
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                self.sender = request.get_response_sender()
                self.sender.send(response(1))
            try:
                raise ValueError("no more")
            finally:
                threading.Thread(target=self.late).start()

        def late(self):
            time.sleep(1)
            try:
                self.sender.send(response(2))
            except pb_utils.TritonModelException as error:
                print("late:", error, flush=True)
        """),
        CONFIG,
    )
    responses = stream.ask(model, ints())
    assert outs(responses[:1]) == [[1]]
    assert "ValueError: no more" in str(responses[1].error)
    closed = "late: Unable to send response. Response sender has been closed."
    wait_until("the sender to be refused", lambda: closed in server.log())


def test_what_execute_returns_must_be_none(load: Load, stream: Stream) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            return [response(1) for _ in requests]
        """),
        CONFIG,
    )
    (only,) = stream.ask(model, ints())
    assert only.error == (
        f"Failed to process the request(s) for model '{model}_0', message: Python model '{model}_0' is using "
        "the decoupled mode and the execute function must return None."
    )


@pytest.mark.differs("death-after-execute", run=False)
def test_a_process_that_dies_answers_open_requests(load: Load, server: TritonServer, http: Client) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            import os
            self.kept = [request.get_response_sender() for request in requests]
            self.kept[0].send(response(1))
            threading.Timer(0.1, os._exit, [3]).start()
        """),
        CONFIG,
    )
    with Stream(server) as stream:
        responses = stream.ask(model, ints())
    assert outs(responses[:1]) == [[1]]
    assert str(responses[1].error).startswith(f"Stub process '{model}_0' is not healthy.")
    http.unload(model)


# --- much at a time ---


def test_thousands_of_responses_come_in_order(load: Load, stream: Stream) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                for number in range(5000):
                    sender.send(response(number))
                sender.send(flags=FINAL)
        """),
        CONFIG,
    )
    assert outs(stream.ask(model, ints())) == [[number] for number in range(5000)]


@pytest.mark.differs("concurrent-send", run=False)
def test_more_than_the_memory_holds_waits_for_room(load: Load, stream: Stream) -> None:
    """A hundred times 4 MB, from several threads, whose order is kept in each."""
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                threads = [threading.Thread(target=self.answer, args=[sender, one]) for one in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                sender.send(flags=FINAL)

        def answer(self, sender, one):
            for number in range(25):
                array = np.full(1 << 20, number, np.int32)
                array[0] = one
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)]))
        """),
        CONFIG,
    )
    seen: dict[int, list[int]] = {}
    for one in stream.ask(model, ints()):
        array = one.outputs["OUT"]
        assert (array[1:] == array[1]).all()
        seen.setdefault(int(array[0]), []).append(int(array[1]))
    assert seen == {one: list(range(25)) for one in range(4)}


def test_a_client_that_goes_away_does_no_harm(load: Load, server: TritonServer, stream: Stream) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                threading.Thread(target=self.answer, args=[request]).start()

        def answer(self, request):
            sender = request.get_response_sender()
            for number in range(numbers(request)[0]):
                sender.send(response(number))
                time.sleep(0.001)
            sender.send(flags=FINAL)
        """),
        CONFIG,
    )
    for _ in range(3):
        other = Stream(server)
        other.send(model, ints(200))
        other.next()
        other.close(cancel=True)
    assert outs(stream.ask(model, ints(3))) == [[0], [1], [2]]
