"""REPLAY_AFTER_CRASH: a batch whose process dies is executed once more, if nothing of it went out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, model_code, parameters, write_model
from serving.server import TritonServer
from serving.types import Load

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([[1]], np.int32)}
REPLAYS = config(*TENSORS, max_batch_size=4, more=parameters(REPLAY_AFTER_CRASH="yes"))
# Notes each execute, and dies in the first so many.
MODEL = """
import os

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.notes = args["model_repository"] + "/notes"

    def execute(self, requests):
        with open(self.notes, "a") as notes:
            notes.write("executed\\n")
        inputs = [request.inputs()[0].as_numpy() for request in requests]
        {before}
        if len(open(self.notes).readlines()) <= {deaths}:
            os._exit(3)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", one)]) for one in inputs]
"""


def executions(repository: Path, model: str) -> int:
    return len((repository / model / "notes").read_text().splitlines())


def not_healthy(model: str) -> str:
    return f"Stub process '{model}_0' is not healthy. It exited with status 3."


def test_a_batch_is_executed_once_more(
    load: Load, http: Client, repository: Path, server: TritonServer, log_start: int
) -> None:
    model = load(MODEL.format(before="", deaths=1), REPLAYS)
    assert http.infer(model, ONE)["OUT"].tolist() == [[1]]
    assert executions(repository, model) == 2
    assert f"'{model}_0' has died over a batch of 1 requests" in server.log()[log_start:]


def test_not_unless_the_model_says_so(load: Load, http: Client, repository: Path) -> None:
    model = load(MODEL.format(before="", deaths=1), config(*TENSORS, max_batch_size=4))
    assert http.error(model, ONE) == not_healthy(model)
    assert executions(repository, model) == 1


def test_not_twice(load: Load, http: Client, repository: Path) -> None:
    model = load(MODEL.format(before="", deaths=2), REPLAYS)
    assert http.error(model, ONE) == not_healthy(model)
    assert executions(repository, model) == 2


CALL = """pb_utils.InferenceRequest(
            model_name="child", requested_output_names=["OUT"], inputs=[pb_utils.Tensor("IN", inputs[0][0])]
        ).exec()"""
EFFECTS = {
    "a call of another model": CALL,
    "a call that was refused": CALL.replace('"child"', '"nobody"'),
    "a question to the server": "pb_utils.is_model_ready('child')",
    "a response": "requests[0].get_response_sender().send(pb_utils.InferenceResponse("
    '[pb_utils.Tensor("OUT", inputs[0])]))',
}


@pytest.mark.parametrize("effect", EFFECTS)
def test_not_when_something_went_out(load: Load, http: Client, repository: Path, effect: str) -> None:
    write_model(repository, "child", model_code("identity"), config(*TENSORS))
    http.load("child")
    model = load(MODEL.format(before=EFFECTS[effect], deaths=1), REPLAYS)
    if effect == "a response":
        assert http.infer(model, ONE)["OUT"].tolist() == [[1]]
    else:
        assert http.error(model, ONE) == not_healthy(model)
    assert executions(repository, model) == 1


def test_the_parameter_has_two_values(http: Client, repository: Path, model_name: str) -> None:
    more = parameters(REPLAY_AFTER_CRASH="true")
    write_model(repository, model_name, model_code("identity"), config(*TENSORS, more=more))
    assert "REPLAY_AFTER_CRASH must be 'yes' or 'no', not 'true'" in http.load_error(model_name)
