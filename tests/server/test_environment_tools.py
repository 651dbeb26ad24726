"""Environments as the tools that people use make them and pack them: each runs a model of a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command import run
from environments import borrow_numpy, conda_prefix, venv
from serving.client import Client
from serving.environments import see_numpy
from serving.libraries import python_with
from serving.repository import config, parameters, write_model
from serving.server import TritonServer
from serving.telling import ONE, TENSORS, telling
from serving.types import StartServer

pytestmark = [pytest.mark.more, pytest.mark.environments, pytest.mark.timeout(1800)]

FACTS = (
    "[sys.prefix, sys.modules['numpy'].__file__,"
    " os.environ.get('VIRTUAL_ENV'), os.environ.get('CONDA_PREFIX'), os.environ['PATH'].split(':')[0]]"
)


def by_virtualenv(folder: Path) -> Path:
    python = python_with("virtualenv")
    subprocess.run(
        [python, "-m", "virtualenv", "-q", "--without-pip", "-p", sys.executable, folder], check=True
    )
    return see_numpy(folder)


def by_uv(folder: Path) -> Path:
    python = python_with("uv")
    command = [python, "-m", "uv", "venv", "-q", "--offline", "--no-cache", "--python", sys.executable]
    subprocess.run([*command, folder], check=True)
    return see_numpy(folder)


@pytest.mark.parametrize("make", [by_virtualenv, by_uv])
def test_the_folder_of_a_tool_is_used_where_it_is(
    make: Callable[[Path], Path], start_server: StartServer, tmp_path: Path
) -> None:
    folder = make(tmp_path / "env")

    prefix, _, virtual, conda, first = facts_of(start_server(), folder)

    assert (prefix, virtual, conda, first) == (str(folder), str(folder), None, f"{folder}/bin")


def by_env_pack(folder: Path) -> Path:
    borrow_numpy(venv(folder))
    archive = folder.with_suffix(".tar.zst")
    result = run("env", "pack", str(folder), "-o", str(archive), "--fast", "--no-bytecode")
    assert result.returncode == 0, result.stderr
    return archive


def by_conda_pack(folder: Path) -> Path:
    """Its own command, which knows nothing of us."""
    archive = folder.with_suffix(".tar.gz")
    program = Path(sys.executable).with_name("conda-pack")
    command = [program, "-q", "-p", conda_prefix(folder), "-o", archive, "--compress-level", "1"]
    subprocess.run(command, check=True)
    return archive


@pytest.mark.parametrize("make", [by_env_pack, by_conda_pack])
def test_the_archive_of_a_tool_runs_where_its_original_is_gone(
    make: Callable[[Path], Path], start_server: StartServer, tmp_path: Path
) -> None:
    archive = make(tmp_path / "env")
    (tmp_path / "env").rename(tmp_path / "gone")
    cache = tmp_path / "cache"
    server = start_server(settings={"environment-cache-directory": str(cache)})

    prefix, numpy, virtual, conda, first = facts_of(server, archive)

    (unpacked,) = cache.glob("environments/*/env")
    assert (prefix, first) == (str(unpacked), f"{unpacked}/bin")
    assert numpy.startswith(f"{unpacked}/")
    assert (virtual, conda) == ((None, prefix) if make is by_conda_pack else (prefix, None))
    if make is by_conda_pack:  # conda-unpack has been there
        assert (unpacked / "etc" / "where.txt").read_text() == f"{unpacked}/share\n"


def facts_of(server: TritonServer, environment: Path) -> tuple[str, str, str | None, str | None, str]:
    more = parameters(EXECUTION_ENV_PATH=str(environment))
    write_model(server.start.repository, "m", telling(FACTS), config(*TENSORS, more=more))
    with Client(server) as client:
        client.load("m")
        prefix, numpy, virtual, conda, first = json.loads(client.error("m", ONE))
    return prefix, numpy, virtual, conda, first
