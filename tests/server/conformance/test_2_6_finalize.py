"""When finalize comes, and what it cannot do harm to."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from serving.client import Client
from serving.repository import config, instance_group, write_model
from serving.server import TritonServer
from serving.telling import ONE, TENSORS
from serving.types import Load
from serving.waiting import wait_until

FINALIZING = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.notes = args["model_repository"] + "/notes"

    def execute(self, requests):
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("executed")) for _ in requests]

    def finalize(self):
        with open(self.notes, "a") as notes:
            print("finalized", file=notes)
"""


def test_finalize_is_called_once_at_the_unload(load: Load, http: Client, repository: Path) -> None:
    model = load(FINALIZING, config(*TENSORS, more=instance_group(2)))
    notes = repository / model / "notes"
    assert http.error(model, ONE) == "executed"
    assert not notes.exists()
    http.unload(model)
    assert notes.read_text() == "finalized\n" * 2


def test_finalize_is_called_when_a_new_version_of_the_model_takes_over(
    load: Load, http: Client, repository: Path
) -> None:
    model = load(FINALIZING, config(*TENSORS))
    write_model(repository, model, FINALIZING.replace('"executed"', '"the new one"'), config(*TENSORS))
    http.load(model)
    assert http.error(model, ONE) == "the new one"
    notes = repository / model / "notes"
    wait_until("the end of the old one", lambda: notes.exists() and notes.read_text())
    assert notes.read_text() == "finalized\n"


@pytest.mark.parametrize("raised", ["ValueError('from finalize')", "SystemExit(3)", "KeyboardInterrupt()"])
def test_an_exception_in_finalize_does_no_harm(
    load: Load, http: Client, server: TritonServer, raised: str
) -> None:
    model = load(
        FINALIZING + f"        raise {raised}\n",
        config(*TENSORS),
    )
    http.unload(model)
    name = raised.partition("(")[0]
    assert (server.start.repository / model / "notes").read_text() == "finalized\n"
    wait_until("the exception in the log", lambda: name in server.log())
    http.load(model)
    assert http.error(model, ONE) == "executed"


def test_finalize_is_not_called_when_initialize_failed(
    http: Client, repository: Path, model_name: str, server: TritonServer
) -> None:
    code = FINALIZING.replace('/notes"\n', "/notes\"\n        raise ValueError('not this time')\n", 1)
    folder = write_model(repository, model_name, code, config(*TENSORS))
    assert "not this time" in http.load_error(model_name)
    wait_until("the process to end", lambda: not server.stubs())
    assert not (folder / "notes").exists()


def test_finalize_is_not_called_in_a_process_that_has_died(
    load: Load, http: Client, repository: Path, server: TritonServer
) -> None:
    model = load(FINALIZING, config(*TENSORS))
    (stub,) = server.stubs()
    os.kill(stub.pid, signal.SIGKILL)
    wait_until("its end", lambda: not stub.alive)
    http.unload(model)
    assert not (repository / model / "notes").exists()


def test_finalize_cannot_call_other_models(load: Load, http: Client, repository: Path) -> None:
    model = load(
        FINALIZING
        + """
        request = pb_utils.InferenceRequest(inputs=[], requested_output_names=[], model_name="m")
        try:
            request.exec()
        except pb_utils.TritonModelException as error:
            with open(self.notes, "w") as notes:
                notes.write(str(error))
""",
        config(*TENSORS),
    )
    http.unload(model)
    text = "BLS is only supported during the 'execute' function."
    assert (repository / model / "notes").read_text() == text
