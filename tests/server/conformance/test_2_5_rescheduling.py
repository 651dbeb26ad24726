"""Requests that a model gives back to be executed once more: iterative sequences."""

from __future__ import annotations

import numpy as np
import pytest
from serving.client import Client
from serving.decoupled import ints, model_of, outs
from serving.repository import config, identity_config, model_code
from serving.stream import Stream
from serving.types import Load

ITERATIVE = "sequence_batching { iterative_sequence: true }"
ONE = config({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])}, more=ITERATIVE)
DECOUPLED = config(
    {"IN": ("INT32", [-1])},
    {"OUT": ("INT32", [-1])},
    more=ITERATIVE + "\nmodel_transaction_policy { decoupled: true }",
)


def test_a_request_is_executed_until_the_model_answers(load: Load, client: Client) -> None:
    model = load(
        model_of("""
        def initialize(self, args):
            self.times = 0

        def execute(self, requests):
            self.times += 1
            answers = []
            for request in requests:
                if self.times < numbers(request)[0]:
                    request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
                    answers.append(None)
                else:
                    answers.append(response(self.times))
                    self.times = 0
            return answers
        """),
        ONE,
    )
    assert client.infer(model, ints(5))["OUT"].tolist() == [5]
    assert client.infer(model, ints(1))["OUT"].tolist() == [1]


def test_a_decoupled_model_answers_each_time(load: Load, stream: Stream) -> None:
    model = load(
        model_of("""
        def initialize(self, args):
            self.times = 0

        def execute(self, requests):
            for request in requests:
                self.times += 1
                sender = request.get_response_sender()
                sender.send(response(self.times))
                if self.times < numbers(request)[0]:
                    request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
                else:
                    sender.send(flags=FINAL)
                    self.times = 0
        """),
        DECOUPLED,
    )
    assert outs(stream.ask(model, ints(4))) == [[1], [2], [3], [4]]
    assert outs(stream.ask(model, ints(2))) == [[1], [2]]


def test_a_response_to_a_request_that_is_given_back(load: Load, http: Client) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return [response(1) for _ in requests]
        """),
        ONE,
    )
    assert (
        "Expected a None object in the execute function return list for reschduled request, found type "
        "'<class 'c_python_backend_utils.InferenceResponse'>'."
    ) in http.error(model, ints(1))


@pytest.mark.differs("rescheduled-error")
def test_an_error_is_an_answer_all_the_same(load: Load, http: Client) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return [response(error="not again") for _ in requests]
        """),
        ONE,
    )
    assert http.error(model, ints(1)) == "not again"


@pytest.mark.differs("reschedule-refused", run=False)
@pytest.mark.parametrize("more", ["", "dynamic_batching { }"])
def test_a_model_without_such_sequences(load: Load, http: Client, more: str) -> None:
    """The server refuses, and the client learns of it."""
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return [None for _ in requests]
        """),
        config({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])}, max_batch_size=4 if more else 0, more=more),
    )
    sent = {"IN": np.array([[1]] if more else [1], np.int32)}
    assert "The model wants this request again, but the server refuses" in http.error(model, sent)


@pytest.mark.differs("release-flags")
def test_the_flags_may_be_given_by_name(load: Load, http: Client) -> None:
    """And the last of several counts."""
    model = load(
        model_of("""
        times = 0

        def execute(self, requests):
            self.times += 1
            (request,) = requests
            request.set_release_flags(flags=pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            if self.times == 1:
                return [None]
            request.set_release_flags(flags=pb_utils.TRITONSERVER_REQUEST_RELEASE_ALL)
            return [response(self.times)]
        """),
        ONE,
    )
    assert http.infer(model, ints(1))["OUT"].tolist() == [2]


# There it writes where a pointer happens to lead, which now and then does no harm.
@pytest.mark.differs("release-flags", run=False)
def test_the_flags_of_a_request_that_a_model_makes_change_nothing(load: Load, http: Client) -> None:
    """Neither its call, nor the request that the model answers."""
    child = load(model_code("identity"), identity_config("INT32"))
    model = load(
        model_of(f"""
        def execute(self, requests):
            (request,) = requests
            own = pb_utils.InferenceRequest(
                inputs=request.inputs(), requested_output_names=["OUT"], model_name="{child}"
            )
            answers = []
            for flags in (2, 1, 0, 2):
                own.set_release_flags(flags)
                answers += own.exec().output_tensors()[0].as_numpy().tolist()
            return [response(*answers)]
        """),
        identity_config("INT32"),
    )
    assert http.infer(model, ints(5))["OUT"].tolist() == [5] * 4
