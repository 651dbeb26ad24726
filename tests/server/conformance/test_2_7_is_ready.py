"""is_ready(): what TRITONBACKEND_ModelInstanceReady answers.

The core of these tests is one that never asks, so a library in the place of the backend's asks in its stead:
tests/cpp/backend/ready_proxy.cc.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.contender import Contender
from serving.proxy import behind_proxy
from serving.repository import identity_config, model_code
from serving.scripted import SCRIPTED, SCRIPTED_CONFIG, do
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

pytestmark = pytest.mark.newer("26.03")

ONE = np.array([1], np.int32)
INT32 = identity_config("INT32")

ReadyOf = Callable[[str], str]


@pytest.fixture(scope="module")
def contender(contender: Contender, tmp_path_factory: pytest.TempPathFactory) -> Contender:
    """The one that the other tests have, with the proxy in front of the library."""
    if not contender.is_ours:
        return contender
    return behind_proxy(contender, tmp_path_factory.mktemp("ready") / "backends")


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    """Dead processes are not replaced, so that their state can be looked at."""
    return {"settings": {"stub-restart": "false"}}


def not_healthy(model: str) -> str:
    return f"Internal: Stub process '{model}_0' is not healthy."


@pytest.fixture
def ready(load: Load, server: TritonServer) -> ReadyOf:
    """Asks the first instance of a model, and returns "yes" or code and text of the error."""
    asker = load(model_code("identity"), INT32 + "instance_group [ { count: 4 kind: KIND_CPU } ]\n")

    def ask(model: str) -> str:
        # By a client of its own: tests ask from several threads.
        with Client(server) as client:
            return client.failure(asker, {"IN": ONE}, request_id=f"ready?{model}_0").message()

    return ask


def model(methods: str = "", initialize: str = "pass") -> str:
    """A model like identity, with `methods`."""
    return f"""
import asyncio
import os
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.folder = Path(args["model_repository"])
        {initialize}

    def execute(self, requests):
        if (self.folder / "busy").exists():
            (self.folder / "began").touch()
            while (self.folder / "busy").exists():
                time.sleep(0.01)
        tensors = [pb_utils.Tensor("OUT", one.inputs()[0].as_numpy()) for one in requests]
        return [pb_utils.InferenceResponse([tensor]) for tensor in tensors]

{indent(dedent(methods), "    ")}
"""


def says(answer: str) -> str:
    return f"def is_ready(self):\n    return {answer}"


NOT_READY = "Unavailable: Model '{}_0' is not ready (user-defined check failed)."
NO_BOOL = "Internal: is_ready() must return a boolean value"


def test_a_model_that_says_yes_is_ready(load: Load, ready: ReadyOf) -> None:
    assert ready(load(model(says("True")), INT32)) == "yes"


def test_a_model_that_says_no_is_not(load: Load, ready: ReadyOf) -> None:
    name = load(model(says("False")), INT32)
    assert ready(name) == NOT_READY.format(name)


def test_a_model_may_change_its_mind(load: Load, ready: ReadyOf, repository: Path) -> None:
    name = load(model(says('not (self.folder / "tired").exists()')), INT32)
    assert ready(name) == "yes"
    (repository / name / "tired").touch()
    assert ready(name) == NOT_READY.format(name)
    (repository / name / "tired").unlink()
    assert ready(name) == "yes"


@pytest.mark.parametrize("answer", ["None", "1", "0", '"yes"', "np.bool_(True)"])
def test_only_a_bool_is_an_answer(load: Load, ready: ReadyOf, answer: str) -> None:
    assert ready(load(model(says(answer)), INT32)) == NO_BOOL


@pytest.mark.parametrize("raised", ["ValueError('no disk')", "SystemExit('no disk')"])
def test_a_model_that_raises_is_not_ready_and_lives_on(
    load: Load, http: Client, ready: ReadyOf, raised: str
) -> None:
    name = load(model(f"def is_ready(self):\n    raise {raised}"), INT32)
    text = ready(name)
    assert text.startswith(f"Internal: {raised.split('(')[0]}: no disk\n\nAt:\n  ")
    assert "is_ready" in text
    assert "threading.py" not in text
    assert ready(name) == text
    assert http.infer(name, {"IN": ONE})["OUT"].tolist() == [1]


@pytest.mark.parametrize(("answer", "told"), [("True", "yes"), ("7", NO_BOOL)])
def test_the_check_may_be_async(load: Load, ready: ReadyOf, answer: str, told: str) -> None:
    methods = f"async def is_ready(self):\n    await asyncio.sleep(0.01)\n    return {answer}"
    name = load(model(methods), INT32)
    assert ready(name) == told
    assert ready(name) == told


def test_a_model_that_defines_none_is_ready_while_its_process_lives(
    load: Load, http: Client, server: TritonServer, ready: ReadyOf
) -> None:
    before = {one.pid for one in server.stubs()}
    name = load(SCRIPTED, SCRIPTED_CONFIG)
    assert ready(name) == "yes"
    script = "import threading\nanswer = [one.name for one in threading.enumerate()]"
    assert do(http, name, script) == ["MainThread"]
    (stub,) = (one for one in server.stubs() if one.pid not in before)
    os.kill(stub.pid, signal.SIGKILL)
    wait_until("the end of the stub", lambda: ready(name).startswith(not_healthy(name)))


def test_presence_is_looked_at_once_after_initialize(load: Load, ready: ReadyOf) -> None:
    late = "def execute_later(self):\n    self.is_ready = lambda: False"
    assert ready(load(model(late), INT32)) == "yes"
    name = load(model(initialize="self.is_ready = lambda: False"), INT32)
    assert ready(name) == NOT_READY.format(name)


def test_a_busy_model_answers(load: Load, server: TritonServer, ready: ReadyOf, repository: Path) -> None:
    name = load(model(says("True")), INT32)
    folder = repository / name
    (folder / "busy").touch()
    with ThreadPoolExecutor(1) as pool, Client(server) as other:
        request = pool.submit(other.infer, name, {"IN": ONE})
        wait_until("execute to begin", lambda: (folder / "began").exists())
        assert ready(name) == "yes"
        assert not request.done()
        (folder / "busy").unlink()
        assert request.result()["OUT"].tolist() == [1]


def test_a_stub_that_dies_during_its_check_is_not_ready(
    load: Load, server: TritonServer, ready: ReadyOf
) -> None:
    name = load(model("def is_ready(self):\n    os.kill(os.getpid(), 9)"), INT32)
    text = "Internal: Stub process is not healthy while waiting for user-defined is_ready() response"
    assert ready(name) == text
    wait_until("its end to be known", lambda: ready(name).startswith(not_healthy(name)))


@pytest.mark.more
def test_a_check_that_takes_too_long_is_no_answer(
    load: Load, http: Client, ready: ReadyOf, repository: Path
) -> None:
    methods = """
        def is_ready(self):
            while not (self.folder / "go").exists():
                time.sleep(0.01)
            return True
    """
    name = load(model(methods), INT32)
    assert ready(name) == "Unavailable: Timed out waiting for user-defined is_ready() response"
    assert ready(name) == "Unavailable: Timed out waiting for in-flight is_ready() response"
    (repository / name / "go").touch()
    wait_until("the late answer to be taken", lambda: ready(name) == "yes")
    assert http.infer(name, {"IN": ONE})["OUT"].tolist() == [1]


@pytest.mark.more
def test_a_check_that_hangs_keeps_neither_requests_nor_the_unload(
    load: Load, http: Client, server: TritonServer, ready: ReadyOf
) -> None:
    methods = """
        def is_ready(self):
            while True:
                time.sleep(0.01)

        def finalize(self):
            print("finalized with a check that hangs", flush=True)
    """
    name = load(model(methods), INT32)
    assert ready(name) == "Unavailable: Timed out waiting for user-defined is_ready() response"
    assert http.infer(name, {"IN": ONE})["OUT"].tolist() == [1]
    http.unload(name)
    wait_until("the end of finalize", lambda: "finalized with a check that hangs" in server.log())


@pytest.mark.more
def test_finalize_waits_for_a_check_that_runs(
    load: Load, http: Client, server: TritonServer, ready: ReadyOf, repository: Path
) -> None:
    methods = """
        def is_ready(self):
            while not (self.folder / "go").exists():
                time.sleep(0.01)
            self.checked = True
            return True

        def finalize(self):
            print("finalized after the check:", hasattr(self, "checked"), flush=True)
    """
    name = load(model(methods), INT32)
    assert ready(name) == "Unavailable: Timed out waiting for user-defined is_ready() response"
    http.raw.unload_model(name)
    wait_until("the unload to begin", lambda: not http.raw.is_model_ready(name))
    (repository / name / "go").touch()
    wait_until("the end of finalize", lambda: "finalized after the check:" in server.log())
    assert "finalized after the check: True" in server.log()
