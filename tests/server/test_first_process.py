"""A server that is the first process of a container without an init: orphans become its children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from serving.client import Client
from serving.processes import Process, children
from serving.repository import write_model
from serving.server import TritonServer
from serving.types import StartServer
from serving.waiting import wait_until
from serving.working import CONFIG, ONE, working

import triton_python

SUBREAPER = """#!{python}
import ctypes
import os
import sys

PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
os.execv("{server}", ["{server}", *sys.argv[1:]])
"""
FIRST = """#!/bin/sh
exec unshare --pid --fork --kill-child --mount-proc "{server}" "$@"
"""
# One child that runs, one that has ended, and one of whose children nobody but the first process hears.
FORKING = """
if os.fork() == 0:
    if os.fork() == 0:
        signal.pause()
    signal.pause()
if os.fork() == 0:
    os._exit(0)
"""


@pytest.fixture(scope="module")
def triton_server_binary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = tmp_path_factory.mktemp("binary") / "server"
    real = triton_python.find_server().binary
    script.write_text(request.param.format(python=sys.executable, server=real))
    script.chmod(0o755)
    return script


def may_unshare() -> bool:
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def first_process(server: TritonServer) -> Process:
    """The server itself, which may be the child of what started it."""
    return next(iter(children(server.process)), server.process)


@pytest.mark.parametrize(
    "triton_server_binary",
    [
        pytest.param(SUBREAPER, id="subreaper"),
        pytest.param(
            FIRST, id="first", marks=pytest.mark.skipif(not may_unshare(), reason="no PID namespaces here")
        ),
    ],
    indirect=True,
)
def test_it_is_left_no_zombies(start_server: StartServer) -> None:
    server = start_server()
    write_model(server.start.repository, "m", working(FORKING), CONFIG)
    parent = first_process(server)
    with Client(server) as client:
        client.load("m")
        for _ in range(3):
            client.infer("m", ONE)
        (stub,) = [one for one in server.stubs() if one in children(parent)]
        os.kill(stub.pid, signal.SIGKILL)
        wait_until("another process", lambda: [one for one in children(parent) if one != stub])
        assert client.infer("m", ONE)["OUT"].tolist() == [1]
        wait_until("nothing but the new one", lambda: len(children(parent, zombies=True)) == 1)
        client.unload("m")
        wait_until("no child at all", lambda: not children(parent, zombies=True))
    os.kill(parent.pid, signal.SIGTERM)
    server.popen.wait(60)
