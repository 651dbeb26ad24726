"""InferenceRequest(...).exec(): what reaches the other model, what comes back, what is said when it fails."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.calls import CALLER_CONFIG, TELLING, TELLING_CONFIG, ask, caller
from serving.client import Client
from serving.repository import config, identity_config, model_code, write_model
from serving.server import TritonServer
from serving.types import Load, StartServer
from serving.waiting import wait_until

IDENTITY = model_code("identity")
ONE = np.array([1], np.int32)

NOT_IN_EXECUTE = "BLS is only supported during the 'execute' function."


# --- what reaches the other model ---


DEFAULTS = {
    "model_version": "1",
    "request_id": "",
    "correlation_id": 0,
    "flags": 0,
    "timeout": 0,
    "parameters": {},
    "requested_output_names": ["ALSO", "SEEN"],
}


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        pytest.param("", {}, id="defaults"),
        pytest.param('request_id="one of many"', {"request_id": "one of many"}, id="id"),
        pytest.param("correlation_id=7", {"correlation_id": 7}, id="number of a sequence"),
        pytest.param("correlation_id=2**64 - 1", {"correlation_id": 2**64 - 1}, id="largest number"),
        pytest.param('correlation_id="a b"', {"correlation_id": "a b"}, id="name of a sequence"),
        pytest.param("flags=3", {"flags": 3}, id="flags"),
        pytest.param("timeout=11_000_000_000", {"timeout": 11_000_000_000}, id="timeout"),
        pytest.param(
            'parameters={"yes": True, "no": False, "less": -5, "word": "wörd", "none": ""}',
            {"parameters": {"yes": True, "no": False, "less": -5, "word": "wörd", "none": ""}},
            id="parameters",
        ),
        pytest.param("parameters={}", {}, id="no parameters"),
        pytest.param("model_version=1", {}, id="version"),
        pytest.param(
            'request_id=b"raw", parameters={"word": "text"}',
            {"request_id": "raw", "parameters": {"word": "text"}},
            id="bytes for text",
        ),
        pytest.param(
            'correlation_id=b"bytes"',
            {"correlation_id": "bytes"},
            id="bytes as the name of a sequence",
            marks=pytest.mark.differs("correlation-id-bytes"),
        ),
    ],
)
def test_every_argument_reaches_the_other_model(
    load: Load, http: Client, given: str, seen: dict[str, Any]
) -> None:
    child = load(TELLING, TELLING_CONFIG)
    model = load(
        caller(f"""
            outputs = call(child, {{"IN": ints(1)}}, {given})
            return json.loads(outputs["SEEN"].tobytes())
        """),
        CALLER_CONFIG,
    )
    assert ask(http, model, child=child) == {**DEFAULTS, **seen}


def test_a_version_may_be_chosen(load: Load, http: Client, server: TritonServer, model_name: str) -> None:
    child = f"{model_name}_child"
    for version in (1, 2, 3):
        chosen = TELLING_CONFIG + "version_policy { all {} }\n"
        write_model(server.start.repository, child, TELLING, chosen, version=version)
    http.load(child)
    model = load(
        caller("""
            versions = [1, 2, 3, -1]
            answers = [call(child, {"IN": ints(1)}, model_version=version) for version in versions]
            return [json.loads(answer["SEEN"].tobytes())["model_version"] for answer in answers]
        """),
        CALLER_CONFIG,
    )
    assert ask(http, model, child=child) == ["1", "2", "3", "3"]


def test_requested_outputs_are_those_that_come_back(load: Load, http: Client) -> None:
    child = load(TELLING, TELLING_CONFIG)
    model = load(
        caller("""
            answers = []
            for names in ([], ["SEEN"], ["ALSO"], ["ALSO", "SEEN"], ["SEEN", "SEEN"]):
                outputs = call(child, {"IN": ints(1)}, names)
                seen = json.loads(next(iter(outputs.values())).tobytes())
                answers.append([sorted(outputs), seen["requested_output_names"]])
            return answers
        """),
        CALLER_CONFIG,
    )
    both, seen, also = ["ALSO", "SEEN"], ["SEEN"], ["ALSO"]
    assert ask(http, model, child=child) == [[names, names] for names in (both, seen, also, both, seen)]


def test_a_models_name_may_be_bytes(load: Load, http: Client) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller('return call(child.encode(), {"IN": ints(5)}, [b"OUT"])["OUT"].tolist()'), CALLER_CONFIG
    )
    assert ask(http, model, child=child) == [5]


# --- what comes back ---


@pytest.mark.newer("25.02")
def test_parameters_of_a_response_come_back(load: Load, http: Client) -> None:
    child = load(
        """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        parameters = {"yes": True, "less": -5, "word": "text"}
        tensors = [pb_utils.Tensor("OUT", one.inputs()[0].as_numpy()) for one in requests]
        return [pb_utils.InferenceResponse([tensor], parameters=parameters) for tensor in tensors]
""",
        identity_config("INT32"),
    )
    model = load(
        caller("""
            response = request(child, {"IN": ints(1)}).exec()
            return [response.has_error(), response.error(), response.parameters()]
        """),
        CALLER_CONFIG,
    )
    has_error, error, parameters = ask(http, model, child=child)
    assert (has_error, error) == (False, None)
    assert parameters in ('{"yes":true,"less":-5,"word":"text"}', '{"yes": true, "less": -5, "word": "text"}')


@pytest.mark.newer("25.02")
def test_a_response_without_parameters_has_none(load: Load, http: Client) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(caller('return request(child, {"IN": ints(1)}).exec().parameters()'), CALLER_CONFIG)
    assert ask(http, model, child=child) == "{}"


CODES = (
    "UNKNOWN",
    "INTERNAL",
    "NOT_FOUND",
    "INVALID_ARG",
    "UNAVAILABLE",
    "UNSUPPORTED",
    "ALREADY_EXISTS",
    "CANCELLED",
)


@pytest.mark.parametrize(
    "code",
    [pytest.param(one, marks=[] if one == "INTERNAL" else pytest.mark.newer("25.04")) for one in CODES],
)
def test_an_error_of_the_other_model_keeps_its_text_and_code(load: Load, http: Client, code: str) -> None:
    child = load(
        f"""
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        error = pb_utils.TritonError("no, and that's wörd", pb_utils.TritonError.{code})
        return [pb_utils.InferenceResponse(error=error) for _ in requests]
""",
        identity_config("INT32"),
    )
    model = load(
        caller("""
            response = request(child, {"IN": ints(1)}).exec()
            error = response.error()
            return [response.has_error(), error.message(), str(error.code()), int(error.code()),
                    response.output_tensors()]
        """),
        CALLER_CONFIG,
    )
    has_error, message, name, number, outputs = ask(http, model, child=child)
    assert (has_error, message, number) == (True, "no, and that's wörd", CODES.index(code))
    assert name.endswith(code)
    assert outputs == []


def test_an_exception_of_the_other_model_is_its_error(load: Load, http: Client) -> None:
    child = load(
        "class TritonPythonModel:\n    def execute(self, requests):\n        raise KeyError('nothing')\n",
        identity_config("INT32"),
    )
    model = load(caller('return text_of(request(child, {"IN": ints(1)}).exec())'), CALLER_CONFIG)
    text = ask(http, model, child=child)
    assert re.match(
        rf"Failed to process the request\(s\) for model '{child}_0(_0)?', message: KeyError: 'nothing'", text
    )


@pytest.mark.newer("25.04")
def test_a_client_gets_the_error_that_its_model_passes_on(load: Load, client: Client) -> None:
    child = load(
        """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        error = pb_utils.TritonError("not today", pb_utils.TritonError.UNAVAILABLE)
        return [pb_utils.InferenceResponse(error=error) for _ in requests]
""",
        identity_config("INT32"),
    )
    model = load(
        f"""
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceRequest(
                inputs=one.inputs(), requested_output_names=["OUT"], model_name="{child}"
            ).exec()
            for one in requests
        ]
""",
        identity_config("INT32"),
    )
    failure = client.failure(model, {"IN": ONE})
    assert failure.message() == "not today"
    assert failure.status() in ("503", "StatusCode.UNAVAILABLE")


# --- what the server itself refuses ---


def refusal(load: Load, http: Client, child: str, arguments: str) -> str:
    model = load(caller(f"return text_of(request(child, {arguments}).exec())"), CALLER_CONFIG)
    return str(ask(http, model, child=child))


def test_an_unknown_model_is_not_ready(load: Load, http: Client) -> None:
    text = refusal(load, http, "nobody", '{"IN": ints(1)}')
    assert text == (
        "Model nobody - Error when running inference: Failed for execute the inference request. "
        "Model 'nobody' is not ready."
    )


def test_an_unknown_model_of_a_server_that_loads_all_itself(
    start_server: StartServer, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    code = caller('return text_of(request("nobody", {}).exec())')
    write_model(models, "caller", code, CALLER_CONFIG)
    server = start_server(explicit=False, repository=models)
    with Client(server) as client:
        wait_until("the model", lambda: client.raw.is_model_ready("caller"))
        assert ask(client, "caller") == (
            "Model nobody - Error when running inference: Failed for execute the inference request. "
            "Model 'nobody' is not ready."
        )


def test_an_unknown_version_is_not_ready(load: Load, http: Client) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    text = refusal(load, http, child, '{"IN": ints(1)}, model_version=9')
    assert text == (
        f"Model {child} - Error when running inference: Failed for execute the inference request. "
        f"Model '{child}' is not ready."
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(
            '{"IN": ints(1)}, ["ZZ"]', "unexpected inference output 'ZZ' for model '{}'", id="output"
        ),
        pytest.param("{}", "expected 1 inputs but got 0 inputs for model '{}'", id="no input"),
        pytest.param('{"ZZ": ints(1)}', "unexpected inference input 'ZZ' for model '{}'", id="input"),
        pytest.param(
            '{"IN": ints(1), "ZZ": ints(1)}', "expected 1 inputs but got 2 inputs", id="more inputs"
        ),
        pytest.param(
            '{"IN": np.array([1.0])}',
            "inference input 'IN' data-type is 'FP64', but model '{}' expects 'INT32'",
            id="data type",
        ),
        pytest.param(
            '{"IN": np.zeros((2, 2), np.int32)}',
            "unexpected shape for input 'IN' for model '{}'. Expected [-1], got [2,2]",
            id="shape",
        ),
    ],
)
def test_what_does_not_fit_the_other_model_is_refused(
    load: Load, http: Client, arguments: str, said: str
) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    text = refusal(load, http, child, arguments)
    assert text.startswith(f"Model {child} - Error when running inference: ")
    assert said.format(child) in text


def test_a_request_that_waits_too_long_times_out(load: Load, http: Client) -> None:
    """It waits behind a request that takes far longer than it may; whichever comes first."""
    child = load(
        """
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.02)
        return [pb_utils.InferenceResponse(one.inputs()) for one in requests]
""",
        config(
            {"SAME": ("INT32", [-1])},
            {"SAME": ("INT32", [-1])},
            max_batch_size=1,
            more="dynamic_batching { default_queue_policy { timeout_action: REJECT "
            "default_timeout_microseconds: 60000000 allow_timeout_override: true } }",
        ),
    )
    model = load(
        caller("""
            inputs = {"SAME": np.ones((1, 1), np.int32)}
            text = ""
            while "timeout" not in text:
                before = threading.Thread(target=call, args=(child, inputs))
                before.start()
                text = text_of(request(child, inputs, timeout=1).exec())
                before.join()
            return text
        """),
        CALLER_CONFIG,
    )
    assert ask(http, model, child=child) == "Request timeout expired"


# --- where calls are possible ---


@pytest.mark.parametrize("phase", ["initialize", "finalize"])
def test_no_calls_outside_of_execute(load: Load, http: Client, server: TritonServer, phase: str) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            "return self.said",
            f"""
            said = None

            def {phase}(self, args=None):
                try:
                    request("{child}", {{"IN": ints(1)}}).exec()
                except pb_utils.TritonModelException as error:
                    self.said = str(error)
                    print("said:", self.said, flush=True)
            """,
        ),
        CALLER_CONFIG,
    )
    if phase == "finalize":
        http.unload(model)
    else:
        assert ask(http, model) == NOT_IN_EXECUTE
    assert f"said: {NOT_IN_EXECUTE}" in server.log()


def test_no_calls_while_the_configuration_is_completed(
    load: Load, http: Client, repository: Any, model_name: str
) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    code = caller(
        "return None",
        f"""
        @staticmethod
        def auto_complete_config(config):
            request("{child}", {{"IN": ints(1)}}).exec()
        """,
    )
    write_model(repository, f"{model_name}_caller", code, CALLER_CONFIG)
    assert f"TritonModelException: {NOT_IN_EXECUTE}" in http.load_error(f"{model_name}_caller")
