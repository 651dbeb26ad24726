"""The processes of models: they end with what started them, and the death of one harms nobody else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.processes import Process
from serving.repository import config, instance_group, model_code, write_model
from serving.scripted import SCRIPTED, SCRIPTED_CONFIG, do
from serving.server import TritonServer
from serving.types import Load, StartServer
from serving.waiting import wait_until

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([1], np.int32)}
GOOD = model_code("identity")


def only_stub(server: TritonServer) -> Process:
    (stub,) = server.stubs()
    return stub


# --- their environment ---


def test_the_environment_is_the_servers(start_server: StartServer) -> None:
    server = start_server(environment={"TPB_TEST_WORD": "of the server", "LC_ALL": "C.UTF-8"})
    write_model(server.start.repository, "m", SCRIPTED, SCRIPTED_CONFIG)
    with Client(server) as client:
        client.load("m")
        script = 'answer = [os.environ.get(name) for name in ("TPB_TEST_WORD", "LC_ALL", "TPB_TEST_NONE")]'
        assert do(client, "m", f"import os\n{script}") == ["of the server", "C.UTF-8", None]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("C.UTF-8", "UTF-8", marks=pytest.mark.differs("locale")),
        ("INVALID", None),
    ],
)
def test_the_locale_is_that_of_the_environment(
    start_server: StartServer, name: str, expected: str | None
) -> None:
    """And one that does not exist does no harm."""
    server = start_server(environment={"LC_ALL": name})
    write_model(server.start.repository, "m", SCRIPTED, SCRIPTED_CONFIG)
    with Client(server) as client:
        client.load("m")
        assert do(client, "m", "import locale\nanswer = locale.getlocale()")[1] == expected


# --- their memory ---


@pytest.mark.differs("memory")
def test_the_memory_that_they_share_with_the_server_has_no_name(
    load: Load, server: TritonServer, http: Client
) -> None:
    """What has none goes with the last process that has it, and /dev/shm does not limit it."""
    model = load(GOOD, config(*TENSORS))
    large = np.zeros(1 << 20, np.int32)
    assert http.infer(model, {"IN": large})["OUT"].shape == large.shape
    assert not server.shm_names()
    assert "/dev/shm" not in only_stub(server).maps()


# --- their ends ---


def test_an_unload_ends_the_process(load: Load, server: TritonServer, http: Client) -> None:
    model = load(GOOD, config(*TENSORS, more=instance_group(2)))
    stubs = server.stubs()
    assert len(stubs) == 2
    http.unload(model)
    assert not any(stub.alive for stub in stubs)


ENDS: dict[str, Callable[[TritonServer], Any]] = {
    "stopped": TritonServer.stop,
    "killed": TritonServer.kill,
}


@pytest.mark.parametrize("end", ENDS)
def test_they_end_with_the_server(start_server: StartServer, end: str) -> None:
    server = start_server()
    for name in ("first", "second"):
        write_model(server.start.repository, name, GOOD, config(*TENSORS))
    with Client(server) as client:
        client.load("first")
        client.load("second")
    stubs = server.stubs()
    assert len(stubs) == 2
    ENDS[end](server)
    wait_until("the end of all", lambda: not any(stub.alive for stub in stubs))
    wait_until("their memory to go", lambda: not server.shm_names())


def test_ctrl_c_is_the_servers_business(start_server: StartServer) -> None:
    """SIGINT to the group of the terminal: finalize runs in order, so no stub ended before."""
    server = start_server(own_group=True)
    code = """
import signal

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.notes = args["model_repository"] + "/notes"

    def finalize(self):
        open(self.notes, "w").close()
"""
    write_model(server.start.repository, "m", code, config(*TENSORS))
    with Client(server) as client:
        client.load("m")
    os.killpg(server.pid, signal.SIGINT)
    assert server.popen.wait(60) == 0
    assert (server.start.repository / "m" / "notes").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_stub_does_not_follow_polite_signals(
    load: Load, server: TritonServer, http: Client, number: signal.Signals
) -> None:
    """It is the server that ends it; a Ctrl-C in an odd terminal must not raise in the model."""
    model = load(GOOD, config(*TENSORS))
    stub = only_stub(server)
    for _ in range(3):
        os.kill(stub.pid, number)
        assert http.infer(model, ONE)["OUT"].tolist() == [1]
    assert stub.alive


@pytest.mark.differs("signal-handlers")
def test_python_shows_handlers_of_its_own_for_polite_signals(load: Load, http: Client) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    numbers = "(signal.SIGINT, signal.SIGTERM)"
    script = f"import signal\nanswer = [signal.getsignal(one) is not None for one in {numbers}]"
    assert do(http, model, script) == [True, True]


def test_sigterm_with_a_request_in_flight_lets_it_finish(start_server: StartServer) -> None:
    server = start_server()
    code = """
import pathlib
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.folder = pathlib.Path(args["model_repository"])

    def execute(self, requests):
        (self.folder / "executing").touch()
        while not (self.folder / "go on").exists():
            time.sleep(0.01)
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", request.inputs()[0].as_numpy())])
            for request in requests
        ]
"""
    write_model(server.start.repository, "m", code, config(*TENSORS))
    folder = server.start.repository / "m"

    def ask() -> list[int]:
        with Client(server, "grpc") as other:
            return list(other.infer("m", ONE)["OUT"].tolist())

    # Closed again: the server waits for the connections of HTTP clients.
    with Client(server) as client:
        client.load("m")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        wait_until("execute", (folder / "executing").exists)
        server.popen.send_signal(signal.SIGTERM)
        wait_until("the server to hear of it", lambda: "Waiting for in-flight" in server.log())
        (folder / "go on").touch()
        assert asked.result() == [1]
    assert server.popen.wait(60) == 0


# --- their deaths ---


def not_healthy(instance: str) -> str:
    return f"Stub process '{instance}' is not healthy."


def test_a_death_in_initialize_fails_the_load(http: Client, repository: Path, model_name: str) -> None:
    code = "import os\n\n\nclass TritonPythonModel:\n    def initialize(self, args):\n        os._exit(1)\n"
    write_model(repository, model_name, code, config(*TENSORS))
    assert not_healthy(f"{model_name}_0") in http.load_error(model_name)
    write_model(repository, model_name, GOOD, config(*TENSORS))
    http.load(model_name)
    assert http.infer(model_name, ONE)["OUT"].tolist() == [1]


@pytest.mark.differs("death-in-auto-complete", run=False)
@pytest.mark.parametrize(
    ("death", "end"),
    [("os._exit(7)", "exited with status 7"), ("os.kill(os.getpid(), 9)", "was killed by signal 9")],
)
def test_a_death_in_auto_complete_config_fails_the_load(
    http: Client,
    server: TritonServer,
    log_start: int,
    repository: Path,
    model_name: str,
    death: str,
    end: str,
) -> None:
    """The process is not yet that of an instance, so the error has no name; the log has more."""
    code = f"""
import os


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        {death}
"""
    write_model(repository, model_name, code, config(*TENSORS))
    assert not_healthy("") in http.load_error(model_name)
    assert end in server.log()[log_start:]
    write_model(repository, model_name, GOOD, config(*TENSORS))
    http.load(model_name)
    assert http.infer(model_name, ONE)["OUT"].tolist() == [1]


@pytest.mark.parametrize("death", ["os._exit(7)", "os.kill(os.getpid(), 9)", "os.abort()"])
def test_a_death_in_execute_is_told_to_the_client(load: Load, client: Client, death: str) -> None:
    """Whoever asks later hears of it as well."""
    code = f"import os\n\n\nclass TritonPythonModel:\n    def execute(self, requests):\n        {death}\n"
    model = load(code, config(*TENSORS))
    for _ in range(3):
        error = client.failure(model, ONE)
        assert str(error.message()).startswith(not_healthy(f"{model}_0"))
        assert error.status() in ("500", "StatusCode.INTERNAL")


@pytest.mark.differs("unload-after-death", run=False)
def test_a_model_whose_process_has_died_can_be_loaded_again(
    load: Load, server: TritonServer, http: Client
) -> None:
    model = load(GOOD, config(*TENSORS))
    (stub,) = server.stubs()
    os.kill(stub.pid, signal.SIGKILL)
    wait_until("its end", lambda: not stub.alive)
    http.unload(model)
    http.load(model)
    assert http.infer(model, ONE)["OUT"].tolist() == [1]


def test_the_death_of_one_is_none_of_the_others(load: Load, server: TritonServer, http: Client) -> None:
    stays = load(GOOD, config(*TENSORS))
    before = server.stubs()
    load(GOOD, config(*TENSORS))
    (stub,) = set(server.stubs()) - set(before)
    os.kill(stub.pid, signal.SIGKILL)
    wait_until("its end", lambda: not stub.alive)
    assert http.infer(stays, ONE)["OUT"].tolist() == [1]
    assert set(before) <= set(server.stubs())


@pytest.mark.differs("restart")
def test_a_process_that_died_is_replaced(load: Load, server: TritonServer, http: Client) -> None:
    before = server.stubs()
    model = load(GOOD, config(*TENSORS))
    (stub,) = set(server.stubs()) - set(before)
    os.kill(stub.pid, signal.SIGKILL)
    wait_until("its end", lambda: not stub.alive)
    assert http.infer(model, ONE)["OUT"].tolist() == [1]


def test_a_model_that_keeps_the_interpreter_to_itself_is_not_dead(load: Load, http: Client) -> None:
    """For longer than it takes to notice a death."""
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    assert do(http, model, "import ctypes\nctypes.PyDLL(None).sleep(3)\nanswer = 'there'") == "there"
