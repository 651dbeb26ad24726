"""What a model sees of a request beside its tensors, and what clients see of a response beside its."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config
from serving.types import Load

# A model can only give numbers back, so it tells what it saw in the text of an error.
TELLING = """
import json

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.tell(request) for request in requests]

    def tell(self, request):
        seen = {
            "request_id": request.request_id(),
            "correlation_id": request.correlation_id(),
            "flags": request.flags(),
            "timeout": request.timeout(),
            "parameters": request.parameters(),
            "requested_output_names": sorted(request.requested_output_names()),
            "inputs": {one.name(): [one.shape(), one.is_cpu()] for one in request.inputs()},
        }
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(json.dumps(seen)))
"""
TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([1], np.int32)}
SEQUENCES = """sequence_batching {
  max_sequence_idle_microseconds: 60000000
  control_input [ ]
}"""
TEXT_SEQUENCES = """sequence_batching {
  max_sequence_idle_microseconds: 60000000
  control_input [
    { name: "CORRELATION" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } ] }
  ]
}"""


def seen_by_model(client: Client, model: str, **options: Any) -> dict[str, Any]:
    return dict(json.loads(client.error(model, ONE, **options)))


def test_a_plain_request_has_the_documented_defaults(load: Load, client: Client) -> None:
    seen = seen_by_model(client, load(TELLING, config(*TENSORS)))
    # tritonclient's gRPC side asks for all outputs, its HTTP side for none by name.
    seen.pop("requested_output_names")
    assert json.loads(seen.pop("parameters") or "{}") in ({}, {"binary_data_output": True})
    assert seen == {
        "request_id": "",
        "correlation_id": 0,
        "flags": 0,
        "timeout": 0,
        "inputs": {"IN": [[1], True]},
    }


def test_the_request_id_reaches_the_model_and_comes_back(load: Load, client: Client) -> None:
    model = load(TELLING, config(*TENSORS))
    assert seen_by_model(client, model, request_id="Æsop 'n' \"co\"")["request_id"] == "Æsop 'n' \"co\""


def test_the_timeout_reaches_the_model_in_microseconds(load: Load, client: Client) -> None:
    model = load(TELLING, config(*TENSORS, max_batch_size=4, more="dynamic_batching {}"))
    batch = {"IN": np.array([[1]], np.int32)}
    seen = json.loads(client.error(model, batch, timeout=11_000_000_000))
    assert seen["timeout"] == 11_000_000_000


def test_requested_outputs_reach_the_model(load: Load, client: Client) -> None:
    model = load(TELLING, config(*TENSORS))
    assert seen_by_model(client, model, outputs=["OUT"])["requested_output_names"] == ["OUT"]


@pytest.mark.parametrize("correlation_id", [1, 2**62 + 5])
def test_a_number_as_correlation_id_reaches_the_model(
    load: Load, client: Client, correlation_id: int
) -> None:
    model = load(TELLING, config(*TENSORS, max_batch_size=2, more=SEQUENCES.replace("control_input [ ]", "")))
    batch = {"IN": np.array([[1]], np.int32)}
    seen = json.loads(
        client.error(model, batch, sequence_id=correlation_id, sequence_start=True, sequence_end=True)
    )
    assert seen["correlation_id"] == correlation_id


def test_a_text_as_correlation_id_reaches_the_model(load: Load, client: Client) -> None:
    model = load(TELLING, config(*TENSORS))
    seen = seen_by_model(client, model, sequence_id="user-17", sequence_start=True, sequence_end=True)
    assert seen["correlation_id"] == "user-17"


def test_the_sequence_flags_reach_the_model(load: Load, client: Client) -> None:
    model = load(TELLING, config(*TENSORS))
    start, end = 1, 2
    for flags in (0, start, end, start | end):
        seen = seen_by_model(
            client, model, sequence_id=9, sequence_start=bool(flags & start), sequence_end=bool(flags & end)
        )
        assert seen["flags"] == flags


def test_parameters_of_all_types_reach_the_model_as_json(load: Load, client: Client) -> None:
    model = load(TELLING, config(*TENSORS))
    sent = {"text": 'quo"te\n\\ é 😀', "number": -(2**62), "yes": True, "no": False, "": "no name"}
    if client.protocol == "grpc":
        sent.pop("")
    seen = json.loads(seen_by_model(client, model, parameters=sent)["parameters"])
    seen.pop("binary_data_output", None)
    assert seen == sent
    assert type(seen["yes"]) is bool


def test_a_parameter_with_a_fraction_reaches_the_model(load: Load, http: Client) -> None:
    """Over HTTP; tritonclient's gRPC side takes no float as a parameter."""
    model = load(TELLING, config(*TENSORS))
    seen = json.loads(seen_by_model(http, model, parameters={"half": 0.5, "third": 1 / 3})["parameters"])
    assert seen["half"] == 0.5
    assert seen["third"] == 1 / 3


@pytest.mark.newer("25.02")
def test_response_parameters_reach_the_client(load: Load, client: Client) -> None:
    model = load(
        """
import triton_python_backend_utils as pb_utils

PARAMETERS = {"text": "quo\\"te é", "number": -(2**62), "yes": True, "no": False}


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("OUT", request.inputs()[0].as_numpy())], parameters=PARAMETERS
            )
            for request in requests
        ]
""",
        config(*TENSORS),
    )
    result = client.result(model, ONE)
    assert result.as_numpy("OUT").tolist() == [1]
    if client.protocol == "http":
        got = result.get_response()["parameters"]
    else:
        got = {
            name: getattr(value, value.WhichOneof("parameter_choice"))
            for name, value in result.get_response().parameters.items()
        }
    assert got == {"text": 'quo"te é', "number": -(2**62), "yes": True, "no": False}


def test_requests_in_a_row_do_not_see_each_others_fields(load: Load, client: Client) -> None:
    model = load(TELLING, config(*TENSORS))
    plain = seen_by_model(client, model)
    full = seen_by_model(client, model, request_id="r", timeout=5, parameters={"a": 1}, sequence_id=3)
    assert full["request_id"] == "r"
    assert seen_by_model(client, model) == plain
