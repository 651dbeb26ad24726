"""InferenceResponse: what of it reaches clients and models that call."""

from __future__ import annotations

import json

import numpy as np
import pytest
from serving.calls import CALLER_CONFIG, ask, caller
from serving.client import Client
from serving.decoupled import CONFIG, ints, model_of
from serving.repository import config, identity_config
from serving.types import Load

ONE = ints(1)


def answering(responses: str) -> str:
    """A model whose `execute` returns the value of an expression."""
    return model_of(f"""
    def execute(self, requests):
        tensor = pb_utils.Tensor("OUT", np.array([7], np.int32))
        return {responses}
    """)


@pytest.mark.parametrize(
    "made",
    [
        "pb_utils.InferenceResponse([tensor])",
        "pb_utils.InferenceResponse(output_tensors=[tensor])",
        "pb_utils.InferenceResponse([tensor], None)",
        "pb_utils.InferenceResponse(error=None, output_tensors=[tensor])",
    ],
)
def test_ways_to_make_one(load: Load, client: Client, made: str) -> None:
    model = load(answering(f"[{made} for _ in requests]"), identity_config("INT32"))
    assert client.infer(model, ONE)["OUT"].tolist() == [7]


@pytest.mark.parametrize("made", ["pb_utils.InferenceResponse()", "pb_utils.InferenceResponse([])"])
def test_one_without_tensors(load: Load, client: Client, made: str) -> None:
    model = load(answering(f"[{made} for _ in requests]"), identity_config("INT32"))
    assert client.infer(model, ONE) == {}


def test_tensors_are_in_the_order_of_the_model(load: Load, client: Client) -> None:
    names = ["B", "A", "C"]
    made = "pb_utils.InferenceResponse([pb_utils.Tensor(name, np.zeros(1, np.int32)) for name in 'BAC'])"
    model = load(
        answering(f"[{made} for _ in requests]"),
        config({"IN": ("INT32", [-1])}, {name: ("INT32", [1]) for name in names}),
    )
    assert client.output_names(client.result(model, ONE)) == names


def test_one_object_for_all_requests_of_a_batch(load: Load, http: Client) -> None:
    model = load(
        answering("[pb_utils.InferenceResponse([pb_utils.Tensor('OUT', np.int32([[7]]))])] * len(requests)"),
        identity_config(
            "INT32", max_batch_size=8, more="dynamic_batching { max_queue_delay_microseconds: 50000 }"
        ),
    )
    asked = [http.raw.async_infer(model, http.tensors({"IN": np.array([[1]], np.int32)})) for _ in range(8)]
    assert [one.get_result().as_numpy("OUT").tolist() for one in asked] == [[[7]]] * 8


def test_one_object_for_many_requests(load: Load, client: Client) -> None:
    model = load(
        model_of("""
        def initialize(self, args):
            self.kept = pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([7], np.int32))])

        def execute(self, requests):
            return [self.kept for _ in requests]
        """),
        identity_config("INT32"),
    )
    for _ in range(5):
        assert client.infer(model, ONE)["OUT"].tolist() == [7]


def test_one_tensor_in_many_responses(load: Load, client: Client) -> None:
    model = load(
        model_of("""
        def initialize(self, args):
            self.kept = pb_utils.Tensor("OUT", np.array([7], np.int32))

        def execute(self, requests):
            return [pb_utils.InferenceResponse([self.kept]) for _ in requests]
        """),
        identity_config("INT32"),
    )
    for _ in range(5):
        assert client.infer(model, ONE)["OUT"].tolist() == [7]


@pytest.mark.newer("25.02")
def test_parameters_beside_an_error_stay_behind(load: Load, http: Client) -> None:
    child = load(
        answering("[pb_utils.InferenceResponse([tensor], pb_utils.TritonError('no'), {'a': 1})]"),
        identity_config("INT32"),
    )
    model = load(
        caller("""
            response = request(child, {"IN": ints(1)}).exec()
            return [response.error().message(), response.output_tensors(), response.parameters()]
        """),
        CALLER_CONFIG,
    )
    assert ask(http, model, child=child) == ["no", [], ""]


@pytest.mark.newer("25.02")
def test_parameters_of_the_responses_of_a_stream(load: Load, http: Client) -> None:
    """The empty one at its end has the empty text."""
    child = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                for number in numbers(request):
                    tensor = pb_utils.Tensor("OUT", np.array([number], np.int32))
                    sender.send(pb_utils.InferenceResponse([tensor], parameters={"number": number}))
                sender.send(flags=FINAL)
        """),
        CONFIG,
    )
    model = load(
        caller("""
            responses = request(child, {"IN": ints(4, 5)}).exec(decoupled=True)
            return [response.parameters() for response in responses]
        """),
        CALLER_CONFIG,
    )
    *parameters, end = ask(http, model, child=child)
    assert [json.loads(one) for one in parameters] == [{"number": 4}, {"number": 5}]
    assert end == ""


def test_a_response_of_a_call(load: Load, http: Client) -> None:
    child = load(answering("[pb_utils.InferenceResponse([tensor])]"), identity_config("INT32"))
    model = load(
        caller("""
            response = request(child, {"IN": ints(1)}).exec()
            (tensor,) = response.output_tensors()
            return [
                type(response).__name__, response.has_error(), response.error(),
                response.output_tensors()[0] is tensor,
                pb_utils.get_output_tensor_by_name(response, "OUT") is tensor,
                pb_utils.get_output_tensor_by_name(response, "IN"),
                tensor.name(), tensor.shape(), tensor.is_cpu(), tensor.as_numpy() is tensor.as_numpy(),
            ]
        """),
        CALLER_CONFIG,
    )
    assert ask(http, model, child=child) == [
        "InferenceResponse",
        False,
        None,
        True,
        True,
        None,
        "OUT",
        [1],
        True,
        True,
    ]


def test_an_answer_of_a_call_passes_on(load: Load, client: Client) -> None:
    child = load(answering("[pb_utils.InferenceResponse([tensor])]"), identity_config("INT32"))
    model = load(
        model_of(f"""
        def execute(self, requests):
            return [
                pb_utils.InferenceRequest(
                    inputs=one.inputs(), requested_output_names=["OUT"], model_name="{child}"
                ).exec()
                for one in requests
            ]
        """),
        identity_config("INT32"),
    )
    assert client.infer(model, ONE)["OUT"].tolist() == [7]
