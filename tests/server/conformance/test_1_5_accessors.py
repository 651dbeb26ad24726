"""What a model can ask a request: the one that it answers, and one that it makes itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
from serving.client import Client
from serving.repository import identity_config, model_code
from serving.scripted import SCRIPTED, SCRIPTED_CONFIG, do
from serving.types import Load

OWN = 'pb_utils.InferenceRequest(inputs=[], requested_output_names=[], model_name="nobody")'


@pytest.fixture
def model(load: Load) -> str:
    return load(SCRIPTED, SCRIPTED_CONFIG)


@pytest.mark.parametrize(
    ("expression", "want"),
    [
        pytest.param(
            "[type(request).__name__, type(request).__module__]",
            ["InferenceRequest", "c_python_backend_utils"],
            id="its class",
        ),
        pytest.param(
            "[type(getattr(request, name)()).__name__ for name in told['names']]",
            ["list", "str", "int", "int", "int", "str", "set", "InferenceTrace", "bool"],
            id="types",
        ),
        pytest.param("request.inputs() is request.inputs()", False, id="inputs are a new list each time"),
        pytest.param(
            "(request.inputs().clear(), len(request.inputs()))[1]", 1, id="which is the model's to change"
        ),
        pytest.param("request.inputs()[0] is request.inputs()[0]", True, id="of the same tensors"),
        pytest.param(
            "request.inputs()[0].as_numpy() is request.inputs()[0].as_numpy()",
            True,
            id="with the same arrays",
        ),
        pytest.param(
            "pb_utils.get_input_tensor_by_name(request, 'TOLD') is request.inputs()[0]", True, id="by name"
        ),
        pytest.param(
            "pb_utils.get_input_tensor_by_name(request, 'IN')", None, id="an optional one that was left out"
        ),
        pytest.param(
            "sorted(request.requested_output_names())", ["ANSWER"], id="outputs that nobody chose are all"
        ),
        pytest.param(
            "(request.set_flags(2), request.flags(), request.set_flags(0), request.flags())",
            [None, 2, None, 0],
            id="flags can be set",
        ),
        pytest.param(
            "request.get_response_sender() is request.get_response_sender()", True, id="always one sender"
        ),
        pytest.param(
            "type(request.get_response_sender()).__name__", "InferenceResponseSender", id="of this class"
        ),
        pytest.param("request.trace().get_context()", None, id="no context without tracing"),
    ],
)
def test_a_request_from_a_client(client: Client, model: str, expression: str, want: object) -> None:
    names = (
        "inputs request_id correlation_id flags timeout parameters requested_output_names trace is_cancelled"
    )
    script = f"""
        told = {{"names": {names.split()}}}
        request = model.request
        answer = {expression}
    """
    assert do(client, model, script) == want


def test_parameters_are_compact_json(http: Client, model: str) -> None:
    told = np.frombuffer(json.dumps({"script": "answer = model.request.parameters()"}).encode(), np.uint8)
    sent = {"a": 1, "b": "x", "c": True, "d": 1.5}
    got = json.loads(http.infer(model, {"TOLD": told}, parameters=sent)["ANSWER"].tobytes())
    assert got.replace(',"binary_data_output":true', "").replace('"binary_data_output":true,', "") == (
        '{"a":1,"b":"x","c":true,"d":1.5}'
    )


SENDER = "Unable to send response. Response sender has no reference to the decoupled state of the model."


@pytest.mark.parametrize(
    ("expression", "want"),
    [
        pytest.param(
            "failure(own.get_response_sender().send, response)", ["TritonModelException", SENDER], id="send"
        ),
        pytest.param("own.get_response_sender() is own.get_response_sender()", True, id="always one sender"),
        pytest.param("own.trace().get_context()", None, id="trace"),
        pytest.param("own.parameters()", "{}", id="parameters"),
        pytest.param(
            "pb_utils.InferenceRequest(inputs=[], requested_output_names=[], model_name='m',"
            " parameters={'a': 1, 'b': 'x', 'c': True}).parameters()",
            '{"a": 1, "b": "x", "c": true}',
            id="parameters as json.dumps has them",
        ),
        pytest.param(
            "own.is_cancelled()",
            False,
            id="is_cancelled",
            marks=pytest.mark.differs("cancelled-of-own-request", run=False),
        ),
    ],
)
def test_a_request_that_a_model_makes(http: Client, model: str, expression: str, want: object) -> None:
    script = f"""
        own = {OWN}
        response = pb_utils.InferenceResponse([])
        answer = {expression}
    """
    assert do(http, model, script) == want


@pytest.mark.parametrize(
    "given",
    [
        pytest.param("preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU)", id="CPU"),
        pytest.param(
            "preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_GPU, 1)",
            id="GPU",
            marks=pytest.mark.differs("gpu-preferred"),
        ),
        pytest.param("trace=model.request.trace()", id="trace"),
        pytest.param("priority=1", id="priority", marks=pytest.mark.differs("priority")),
    ],
)
def test_a_call_with_more(load: Load, http: Client, model: str, given: str) -> None:
    """Without a GPU the outputs lie in memory of the CPU, whatever the model prefers."""
    child = load(model_code("identity"), identity_config("INT32"))
    script = f"""
        import numpy as np
        one = pb_utils.Tensor("IN", np.array([5], np.int32))
        made = pb_utils.InferenceRequest(
            inputs=[one], requested_output_names=["OUT"], model_name="{child}", {given}
        )
        response = made.exec()
        assert not response.has_error(), response.error().message()
        (tensor,) = response.output_tensors()
        answer = [tensor.name(), tensor.is_cpu(), tensor.as_numpy().tolist()]
    """
    assert do(http, model, script) == ["OUT", True, [5]]


def test_a_request_can_be_made_again(load: Load, http: Client, model: str) -> None:
    """The same object, one after the other and from several threads."""
    child = load(model_code("identity"), identity_config("INT32"))
    script = f"""
        import threading
        import numpy as np
        one = pb_utils.Tensor("IN", np.array([5], np.int32))
        made = pb_utils.InferenceRequest(inputs=[one], requested_output_names=["OUT"], model_name="{child}")
        answer = [made.exec().output_tensors()[0].as_numpy().tolist() for _ in range(3)]
    """
    assert do(http, model, script) == [[5]] * 3


def test_async_exec_gives_a_future(load: Load, http: Client, model: str) -> None:
    child = load(model_code("identity"), identity_config("INT32"))
    script = f"""
        import asyncio
        import numpy as np
        one = pb_utils.Tensor("IN", np.array([5], np.int32))
        made = pb_utils.InferenceRequest(inputs=[one], requested_output_names=["OUT"], model_name="{child}")
        async def call():
            future = made.async_exec()
            response = await future
            return [isinstance(future, asyncio.Future), response.output_tensors()[0].as_numpy().tolist()]
        answer = asyncio.run(call())
    """
    assert do(http, model, script) == [True, [5]]
