"""A stub process that dies, in each phase: those who wait for it hear of it, and nobody else does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.processes import Process
from serving.repository import config, identity_config, instance_group, model_code, write_model
from serving.server import TritonServer
from serving.types import Load, StartServer
from serving.waiting import wait_until
from tritonclient.utils import InferenceServerException

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([1], np.int32)}
GOOD = model_code("identity")
HEAD = """
import ctypes
import os
import signal
import threading

import triton_python_backend_utils as pb_utils
"""
DIES_IN_EXECUTE = (
    HEAD + "\n\nclass TritonPythonModel:\n    def execute(self, requests):\n        os._exit(7)\n"
)
DEATHS = {
    "exits": "os._exit(7)",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "crashes": "ctypes.string_at(0)",
    "aborts": "os.abort()",
    "kills its group": "os.killpg(0, signal.SIGKILL)",
}


@pytest.fixture(autouse=True)
def _another_model_still_answers(server: TritonServer, http: Client) -> Iterator[None]:
    write_model(server.start.repository, "bystander", GOOD, identity_config("INT32"))
    http.load("bystander")
    (stub,) = server.stubs()
    yield
    assert http.infer("bystander", ONE)["OUT"].tolist() == [1]
    assert stub.alive, "the other model's process has been started anew"


def not_healthy(model: str) -> str:
    return f"Stub process '{model}' is not healthy."


def comes_back(http: Client, model: str, repository: Path) -> None:
    """Unloaded, repaired and loaded again, the model works."""
    http.unload(model)
    write_model(repository, model, GOOD, config(*TENSORS))
    http.load(model)
    assert http.infer(model, ONE)["OUT"].tolist() == [1]


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("phase", ["import", "auto_complete_config", "initialize"])
def test_death_while_loading(http: Client, repository: Path, model_name: str, phase: str, death: str) -> None:
    statement = DEATHS[death]
    phases = {
        "import": statement,
        "auto_complete_config": f"""class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        {statement}
""",
        "initialize": f"class TritonPythonModel:\n    def initialize(self, args):\n        {statement}\n",
    }
    write_model(repository, model_name, HEAD + phases[phase], config(*TENSORS))
    error = http.load_error(model_name)
    # The process that completes the configuration is not yet an instance's.
    name = f"{model_name}_0" if phase == "initialize" else ""
    assert not_healthy(name) in error
    comes_back(http, model_name, repository)


@pytest.mark.parametrize("death", DEATHS)
def test_death_in_execute(load: Load, client: Client, repository: Path, http: Client, death: str) -> None:
    model = load(
        HEAD
        + f"""
class TritonPythonModel:
    def execute(self, requests):
        {DEATHS[death]}
""",
        config(*TENSORS),
    )
    error = client.failure(model, ONE)
    assert str(error.message()).startswith(not_healthy(f"{model}_0"))
    assert error.status() in ("500", "StatusCode.INTERNAL")
    # The next one has a new process to itself.
    assert client.error(model, ONE).startswith(not_healthy(f"{model}_0"))
    comes_back(http, model, repository)


def test_who_dies_too_often_is_given_up_for_a_while(
    load: Load, client: Client, repository: Path, http: Client
) -> None:
    model = load(DIES_IN_EXECUTE, config(*TENSORS))
    for _ in range(7):
        assert client.error(model, ONE).startswith(not_healthy(f"{model}_0"))
    refused = client.failure(model, ONE)
    assert "the next try is in" in str(refused.message())
    assert refused.status() in ("503", "StatusCode.UNAVAILABLE")
    comes_back(http, model, repository)


def test_the_log_says_how_a_process_ended(load: Load, http: Client, server: TritonServer) -> None:
    model = load(
        DIES_IN_EXECUTE,
        config(*TENSORS),
    )
    http.error(model, ONE)
    wait_until("the sentence", lambda: "exited with status 7" in server.log())
    lines = [line for line in server.log().splitlines() if "exited with status 7" in line]
    assert any(model in line for line in lines)


WAITING = (
    HEAD
    + """
class TritonPythonModel:
    def initialize(self, args):
        self.notes = args["model_repository"] + "/executing"

    def execute(self, requests):
        if not os.path.exists(self.notes):
            open(self.notes, "w").close()
            threading.Event().wait()
        inputs = [request.inputs()[0].as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", one)]) for one in inputs]
"""
)


def asking(server: TritonServer, model: str, number: int) -> str:
    """The error, or the answer as text."""
    with Client(server, ("http", "grpc")[number % 2]) as client:
        try:
            return str(client.infer(model, {"IN": np.array([number], np.int32)})["OUT"].tolist())
        except InferenceServerException as error:
            return str(error.message())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT], ids=lambda n: n.name)
def test_requests_in_flight_hear_of_the_death(
    load: Load, server: TritonServer, http: Client, repository: Path, number: signal.Signals
) -> None:
    """One is being executed; others wait behind it, and are the next process's."""
    before = server.stubs()
    model = load(WAITING, config(*TENSORS))
    (stub,) = set(server.stubs()) - set(before)
    with ThreadPoolExecutor(6) as pool:
        errors = [pool.submit(asking, server, model, index) for index in range(6)]
        wait_until("the first request", lambda: (repository / model / "executing").exists())
        os.kill(stub.pid, number)
        told = [error.result() for error in errors]
    failed = [text for text in told if text.startswith(not_healthy(f"{model}_0"))]
    assert len(failed) == 1
    assert f"It was killed by signal {number.value} (" in failed[0]
    assert [text for text in told if text not in failed] == [
        f"[{index}]" for index, text in enumerate(told) if text not in failed
    ]


def test_a_batch_in_flight_hears_of_the_death(load: Load, server: TritonServer, repository: Path) -> None:
    before = server.stubs()
    batches = config(
        *TENSORS, max_batch_size=4, more="dynamic_batching { max_queue_delay_microseconds: 10000000 }"
    )
    model = load(WAITING, batches)
    (stub,) = set(server.stubs()) - set(before)

    def ask(_: int) -> str:
        with Client(server) as client:
            return client.error(model, {"IN": np.array([[1]], np.int32)})

    with ThreadPoolExecutor(4) as pool:
        errors = [pool.submit(ask, index) for index in range(4)]
        wait_until("the batch", lambda: (repository / model / "executing").exists())
        os.kill(stub.pid, signal.SIGKILL)
        for error in errors:
            assert error.result().startswith(not_healthy(f"{model}_0"))


def test_an_idle_process_that_dies_is_replaced_before_anybody_asks(
    load: Load, server: TritonServer, http: Client
) -> None:
    before = server.stubs()
    model = load(GOOD, config(*TENSORS))
    (stub,) = set(server.stubs()) - set(before)
    assert http.infer(model, ONE)["OUT"].tolist() == [1]
    os.kill(stub.pid, signal.SIGKILL)
    wait_until("its end", lambda: not stub.alive)
    wait_until("its successor", lambda: len(set(server.stubs()) - set(before)) == 1)
    assert http.infer(model, ONE)["OUT"].tolist() == [1]
    wait_until("the sentence", lambda: f"starting a new stub process for '{model}_0'" in server.log())


def test_one_instance_dies_and_the_other_goes_on(load: Load, server: TritonServer, http: Client) -> None:
    before = server.stubs()
    model = load(GOOD, config(*TENSORS, more=instance_group(2)))
    killed, stays = set(server.stubs()) - set(before)
    os.kill(killed.pid, signal.SIGKILL)
    wait_until("its end", lambda: not killed.alive)

    for _ in range(20):
        assert http.infer(model, ONE)["OUT"].tolist() == [1]
    assert stays.alive


@pytest.mark.parametrize("death", DEATHS)
def test_death_in_finalize(load: Load, http: Client, repository: Path, death: str) -> None:
    model = load(
        HEAD
        + f"""
class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("executed")) for _ in requests]

    def finalize(self):
        {DEATHS[death]}
""",
        config(*TENSORS),
    )
    assert http.error(model, ONE) == "executed"
    comes_back(http, model, repository)


def test_death_with_many_large_arrays_kept_gives_the_memory_back(
    load: Load, server: TritonServer, http: Client, repository: Path
) -> None:
    """Nothing of the dead process's memory stays mapped after the unload; the fixtures look for it."""
    before = server.stubs()
    model = load(
        HEAD
        + """
class TritonPythonModel:
    kept = []

    def execute(self, requests):
        self.kept += [request.inputs()[0].as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", self.kept[-1][:1])]) for _ in requests]
""",
        config(*TENSORS),
    )
    (stub,) = set(server.stubs()) - set(before)
    for number in range(20):
        got = http.infer(model, {"IN": np.full(1 << 18, number, np.int32)})["OUT"]
        assert got.tolist() == [number]
    os.kill(stub.pid, signal.SIGKILL)
    wait_until("its end", lambda: not stub.alive)
    comes_back(http, model, repository)


def test_dying_again_and_again_uses_nothing_up(
    load: Load, server: TritonServer, http: Client, repository: Path
) -> None:
    """Descriptors and threads of the server are as many as before."""
    model = load(DIES_IN_EXECUTE, config(*TENSORS))

    def die() -> None:
        # Anew, because the pauses between processes grow.
        http.unload(model)
        http.load(model)
        for _ in range(2):
            http.error(model, ONE)

    def used() -> tuple[int, int]:
        process = server.process
        ours = [target for target in process.descriptors().values() if not target.startswith("socket")]
        return len(ours), len([name for name in process.threads() if name.startswith("tpb-")])

    die()
    before = used()
    for _ in range(10):
        die()
    wait_until(f"no more than {before} to be in use", lambda: used() <= before)


def test_a_stopped_process_is_not_a_dead_one(load: Load, server: TritonServer, http: Client) -> None:
    """SIGSTOP, swapping, starvation: its answer comes late, and it is the answer to its own request."""
    before = server.stubs()
    model = load(GOOD, config(*TENSORS))
    (stub,) = set(server.stubs()) - set(before)
    os.kill(stub.pid, signal.SIGSTOP)

    def ask(number: int) -> list[int]:
        with Client(server) as client:
            return list(client.infer(model, {"IN": np.array([number], np.int32)})["OUT"].tolist())

    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(ask, number) for number in (10, 20)]
        wait_until(
            "the requests to be with the server",
            lambda: http.statistics(model)["inference_stats"]["success"].get("count", 0) == 0,
        )
        wait_until("the process to stop", lambda: _state(stub) == "T")
        os.kill(stub.pid, signal.SIGCONT)
        assert [answer.result() for answer in answers] == [[10], [20]]


def _state(process: Process) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_each_process_in_a_row_answers_its_own_requests(
    load: Load, server: TritonServer, http: Client
) -> None:
    """What a new process of the same instance says is not taken for what the old one owed."""
    before = server.stubs()
    model = load(GOOD, config(*TENSORS))
    pids = set()
    for number in range(4):
        (stub,) = set(server.stubs()) - set(before)
        pids.add(stub.pid)
        assert http.infer(model, {"IN": np.array([number], np.int32)})["OUT"].tolist() == [number]
        os.kill(stub.pid, signal.SIGKILL)
        wait_until("its end", lambda stub=stub: not stub.alive)
        assert http.infer(model, {"IN": np.array([-number], np.int32)})["OUT"].tolist() == [-number]
    assert len(pids) == 4


def test_an_unload_does_not_wait_for_a_process_that_does_not_come_up(
    load: Load, server: TritonServer, http: Client, repository: Path
) -> None:
    before = server.stubs()
    model = load(
        HEAD
        + """
class TritonPythonModel:
    def initialize(self, args):
        note = args["model_repository"] + "/started"
        if os.path.exists(note):
            open(note + "_again", "w").close()
            threading.Event().wait()
        open(note, "w").close()

    def execute(self, requests):
        return []
""",
        config(*TENSORS),
    )
    (stub,) = set(server.stubs()) - set(before)
    os.kill(stub.pid, signal.SIGKILL)
    wait_until("the next one to hang", lambda: (repository / model / "started_again").exists())
    comes_back(http, model, repository)


def test_nothing_is_replaced_where_that_is_switched_off(
    start_server: StartServer, triton_server_binary: Path
) -> None:
    server = start_server(settings={"stub-restart": "false"})
    write_model(server.start.repository, "m", GOOD, config(*TENSORS))
    with Client(server) as client:
        client.load("m")
        (stub,) = server.stubs()
        os.kill(stub.pid, signal.SIGKILL)
        wait_until("its end", lambda: not stub.alive)
        wait_until("an error", lambda: client.error("m", ONE).startswith(not_healthy("m_0")))
        assert not server.stubs()
