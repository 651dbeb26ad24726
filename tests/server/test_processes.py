"""The processes of models: what they hold, whose they are, and that they end with what started them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.processes import Process, holders
from serving.repository import config, instance_group, model_code, write_model
from serving.server import TritonServer
from serving.types import Load, StartServer
from serving.waiting import wait_until

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([1], np.int32)}
GOOD = model_code("identity")
# Starts a process in initialize that would live for a day; its number is the answer to each request.
WITH_CHILD = """
import os
import subprocess
import sys
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.child = START_CHILD

    def execute(self, requests):
        output = np.array([self.child], np.int32)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", output)]) for _ in requests]


def fork():
    child = os.fork()
    if child == 0:
        time.sleep(86400)
        os._exit(0)
    return child


def spawn():
    # Holds on to every descriptor that it can.
    command = [sys.executable, "-c", "import time; time.sleep(86400)"]
    return subprocess.Popen(command, close_fds=False).pid
"""
CHILDREN = ("fork()", "spawn()")


def only_stub(server: TritonServer) -> Process:
    (stub,) = server.stubs()
    return stub


def child_of(client: Client, model: str) -> Process:
    (pid,) = client.infer(model, ONE)["OUT"].tolist()
    child = Process.of(pid)
    assert child is not None
    return child


def fields(process: Process) -> list[str]:
    """Of /proc/PID/stat: state, parent, group, session, ..."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()


# --- what they hold ---


def test_a_stub_holds_only_its_own_descriptors(load: Load, server: TritonServer, http: Client) -> None:
    model = load(GOOD, config(*TENSORS))
    http.infer(model, ONE)
    stub = only_stub(server)
    held = stub.descriptors()
    assert held[0] == "/dev/null"
    # What it prints passes through the server, which holds the other ends.
    pipes = set(server.process.descriptors().values())
    assert held[1] != held[2]
    assert {held[1], held[2]} <= {pipe for pipe in pipes if pipe.startswith("pipe:")}
    others = sorted(_kind(target) for number, target in held.items() if number > 2)
    allowed = {"socket", "memfd", "eventfd", "pidfd"}
    assert set(others) <= allowed, held
    assert others.count("socket") == 1
    assert others.count("memfd") <= 1


def _kind(target: str) -> str:
    for kind, start in {
        "socket": "socket:",
        "memfd": "/memfd:",
        "eventfd": "anon_inode:[eventfd]",
        "pidfd": "anon_inode:[pidfd]",
    }.items():
        if target.startswith(start) or (kind == "pidfd" and target.startswith("pidfd:")):
            return kind
    return target


def test_a_stub_holds_no_socket_of_the_server(load: Load, server: TritonServer, http: Client) -> None:
    """Neither a port that it listens on nor a client's connection: the server could not close them."""
    model = load(GOOD, config(*TENSORS))
    http.infer(model, ONE)
    servers = {target for target in server.process.descriptors().values() if target.startswith("socket:")}
    stubs = {target for target in only_stub(server).descriptors().values() if target.startswith("socket:")}
    listening = {f"socket:[{inode}]" for inode in _listening_inodes(server)}
    assert listening <= servers
    assert len(listening) >= 2
    assert not servers & stubs


def _listening_inodes(server: TritonServer) -> set[str]:
    listens = "0A"
    ports = {server.http_port, server.grpc_port}
    found = set()
    tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    for line in tables.splitlines():
        words = line.split()
        if words[3] == listens and int(words[1].partition(":")[2], 16) in ports:
            found.add(words[9])
    return found


def test_a_stub_leads_a_process_group_of_its_own(load: Load, server: TritonServer) -> None:
    load(GOOD, config(*TENSORS, more=instance_group(2)))
    stubs = server.stubs()
    assert len(stubs) == 2
    for stub in stubs:
        _, parent, group, *_ = fields(stub)
        assert int(parent) == server.pid
        assert int(group) == stub.pid


def test_a_stub_starts_with_no_signal_blocked_or_ignored(load: Load, server: TritonServer) -> None:
    """But for those that Python itself ignores, and the two that are the C library's own."""
    load(GOOD, config(*TENSORS))
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{only_stub(server).pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert int(status["SigBlk"], 16) == 0
    allowed = {signal.SIGPIPE, signal.SIGXFSZ, 32, 33}
    ignored = {number for number in range(1, 65) if int(status["SigIgn"], 16) >> (number - 1) & 1}
    assert ignored <= allowed


def test_shared_memory_has_no_name_and_goes_with_the_model(
    load: Load, server: TritonServer, http: Client
) -> None:
    model = load(GOOD, config(*TENSORS))
    region = f"memfd:{server.region_prefix}{model}"
    assert http.infer(model, {"IN": np.zeros(1 << 20, np.int32)})["OUT"].shape == (1 << 20,)
    assert server.process.mentions(region)
    assert only_stub(server).mentions(region)
    assert not server.shm_names()
    http.unload(model)
    wait_until("nobody to hold it", lambda: not holders(region))


def test_shared_memory_is_named_after_the_backend_by_default(start_server: StartServer) -> None:
    server = start_server(own_prefix=False)
    name = f"m{server.token}"
    write_model(server.start.repository, name, GOOD, config(*TENSORS))
    region = f"memfd:triton_python_backend_shm_region_{name}"
    with Client(server) as client:
        client.load(name)
        assert server.process.mentions(region)
        assert len(holders(region)) == 2
        client.unload(name)
        wait_until("nobody to hold it", lambda: not holders(region))


def test_the_server_has_few_threads_per_instance(load: Load, server: TritonServer, http: Client) -> None:
    def ours() -> int:
        return len([name for name in server.process.threads() if name.startswith("tpb-")])

    first = load(GOOD, config(*TENSORS))
    before = ours()
    second = load(GOOD, config(*TENSORS, more=instance_group(3)))
    assert ours() - before <= 2 * 3
    http.unload(second)
    wait_until("their threads to end", lambda: ours() == before)
    http.unload(first)


# --- their ends ---


@pytest.mark.parametrize("start", CHILDREN)
def test_an_unload_ends_what_the_model_has_started(load: Load, http: Client, start: str) -> None:
    model = load(WITH_CHILD.replace("START_CHILD", start), config(*TENSORS))
    child = child_of(http, model)
    assert child.alive
    http.unload(model)
    wait_until("the end of the model's child", lambda: not child.alive)


@pytest.mark.parametrize("start", CHILDREN)
def test_the_death_of_a_stub_ends_what_the_model_has_started(
    load: Load, server: TritonServer, http: Client, start: str
) -> None:
    model = load(WITH_CHILD.replace("START_CHILD", start), config(*TENSORS))
    child = child_of(http, model)
    # The child is in the group, too; one of them is the stub.
    stub = next(one for one in server.all_stubs() if one.pid != child.pid)
    os.kill(stub.pid, signal.SIGKILL)
    wait_until("the end of the model's child", lambda: not child.alive)


ENDS: dict[str, Callable[[TritonServer], Any]] = {
    "stopped": TritonServer.stop,
    "killed": TritonServer.kill,
}
STUCK = """
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.notes = args["model_repository"] + "/executing"

    def execute(self, requests):
        open(self.notes, "w").close()
        HANG
"""


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_the_server_ends_everything(start_server: StartServer, end: str) -> None:
    server = start_server()
    models = {"plain": GOOD}
    models.update({start[:-2]: WITH_CHILD.replace("START_CHILD", start) for start in CHILDREN})
    children = []
    with Client(server) as client:
        for name, code in models.items():
            write_model(server.start.repository, name, code, config(*TENSORS))
            client.load(name)
            if name != "plain":
                children.append(child_of(client, name))
    stubs = server.stubs()
    assert len(stubs) == 3
    ENDS[end](server)
    wait_until("the end of all", lambda: not any(one.alive for one in (*stubs, *children)))
    server.wait_until_nothing_is_left()


def test_nothing_outlives_a_killed_server_by_a_second(start_server: StartServer) -> None:
    """Even where a model's children hold each of its descriptors. The best of three: machines are busy."""
    tried = []
    for _ in range(3):
        server = start_server()
        children = []
        with Client(server) as client:
            for start in CHILDREN:
                code = WITH_CHILD.replace("START_CHILD", start)
                write_model(server.start.repository, start[:-2], code, config(*TENSORS))
                client.load(start[:-2])
                children.append(child_of(client, start[:-2]))
        everyone = {*server.all_stubs(), *children}
        assert len(everyone) == 4
        server.kill()
        begun = time.monotonic()
        wait_until("the end of all", lambda all=everyone: not any(one.alive for one in all))
        tried.append(time.monotonic() - begun)
        if tried[-1] < 1:
            return
    raise AssertionError(f"it took {tried} s")


HANGS = {
    "sleeps": "time.sleep(86400)",
    "calculates": "while True: pass",
    "holds the GIL": "import ctypes; ctypes.PyDLL(None).sleep(86400)",
}


@pytest.mark.parametrize("hang", HANGS)
def test_the_death_of_the_server_ends_a_model_that_hangs(start_server: StartServer, hang: str) -> None:
    server = start_server()
    write_model(server.start.repository, "stuck", STUCK.replace("HANG", HANGS[hang]), config(*TENSORS))
    with Client(server) as client, ThreadPoolExecutor(1) as pool:
        client.load("stuck")
        stub = only_stub(server)

        def ask() -> None:
            with pytest.raises(Exception), Client(server) as other:  # noqa: B017, PT011 - any will do
                other.infer("stuck", ONE)

        asked = pool.submit(ask)
        executing = server.start.repository / "stuck" / "executing"
        wait_until("execute", executing.exists)
        server.kill()
        asked.result()
    wait_until("the end of the model's process", lambda: not stub.alive)


def test_a_stopped_stub_ends_with_the_server(start_server: StartServer) -> None:
    server = start_server()
    write_model(server.start.repository, "m", GOOD, config(*TENSORS))
    with Client(server) as client:
        client.load("m")
    stub = only_stub(server)
    os.kill(stub.pid, signal.SIGSTOP)
    server.kill()
    wait_until("its end", lambda: not stub.alive)


# --- what others see of them ---


def test_the_stub_volunteers_to_be_killed_when_memory_runs_out(load: Load, server: TritonServer) -> None:
    load(GOOD, config(*TENSORS))

    def score(process: Process) -> int:
        return int(Path(f"/proc/{process.pid}/oom_score_adj").read_text())

    assert score(only_stub(server)) > score(server.process)


def test_the_command_line_shows_the_model_and_no_configuration(load: Load, server: TritonServer) -> None:
    model = load(GOOD, config(*TENSORS))
    command = only_stub(server).command()
    assert model in command
    assert "TYPE_INT32" not in json.dumps(command)
