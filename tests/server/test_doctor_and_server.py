"""What the doctor says beforehand is what the server does: which Python, how much memory."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import pytest
from command import COMMAND
from doctoring import add_packages_of_this_python, bare_python, examine
from restricted import with_limit
from serving.client import Client
from serving.repository import identity_config, model_code, write_model
from serving.server import TritonServer
from serving.types import StartServer

LIMIT = 48 << 20


def with_model(server: TritonServer) -> TritonServer:
    write_model(server.start.repository, "m", model_code("identity"), identity_config())
    with Client(server) as client:
        client.load("m")
    return server


def python_in_log(server: TritonServer) -> str:
    (line,) = [line for line in server.log().splitlines() if "model 'm' runs in " in line]
    return line.partition("model 'm' runs in ")[2].partition(" (")[0]


@pytest.mark.parametrize("packages", [True, False])
def test_the_doctor_names_the_python_that_the_server_takes(
    start_server: StartServer, tmp_path: Path, packages: bool
) -> None:
    """With numpy it is the one on the PATH, without it is the one that installed us."""
    python = bare_python(tmp_path / "venv")
    if packages:
        add_packages_of_this_python(next((tmp_path / "venv" / "lib").glob("python*/site-packages")))
    path = os.pathsep.join([str(python.parent), "/usr/bin", "/bin"])

    told = examine(PATH=path)["interpreter"].found
    server = with_model(start_server(environment={"PATH": path}))

    taken = python_in_log(server)
    assert told.startswith(f"models run in {taken} (Python ")
    assert taken == (str(python) if packages else sys.executable)


def test_the_doctor_names_the_size_that_an_instance_gets(start_server: StartServer) -> None:
    told = examine(command=with_limit("-f", LIMIT >> 10, [COMMAND]))["memory"].found
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        server = start_server()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with_model(server)

    sizes = [
        Path(f"/proc/{server.pid}/fd/{number}").stat().st_size
        for number, target in server.process.descriptors().items()
        if server.region_prefix in target
    ]

    assert "may use 48 MiB of shared memory" in told
    assert sizes
    assert all(LIMIT - (64 << 10) < size <= LIMIT for size in sizes)
