"""Where a model's compiled module comes from, when the server's installation has none for its Python."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from environments import borrow_numpy, venv
from serving.client import Client
from serving.repository import config, parameters, write_model
from serving.server import TritonServer
from serving.telling import ONE, TENSORS, telling
from serving.types import StartServer

import triton_python_backend_utils

PACKAGE = Path(triton_python_backend_utils.__file__).parent
FACTS = "[sys.prefix, sys.modules['c_python_backend_utils'].__file__, pb_utils.__file__]"


@pytest.fixture
def server(start_server: StartServer, backend_dir: Path, tmp_path: Path) -> TritonServer:
    """One whose backend folder holds a compiled module for no Python at all."""
    backends = tmp_path / "backends"
    shutil.copytree(backend_dir, backends, ignore=shutil.ignore_patterns("_core.*.so", "__pycache__"))
    cache = {"environment-cache-directory": str(tmp_path / "cache")}
    return start_server(backend_dir=backends, settings=cache)


def write(server: TritonServer, environment: Path) -> None:
    text = config(*TENSORS, more=parameters(EXECUTION_ENV_PATH=str(environment)))
    write_model(server.start.repository, "m", telling(FACTS), text)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """One that has numpy and nothing of ours."""
    borrow_numpy(venv(tmp_path / "env"))
    return tmp_path / "env"


def in_its_own_installation(environment: Path) -> Path:
    site = next((environment / "lib").glob("python*/site-packages"))
    shutil.copytree(PACKAGE, site / PACKAGE.name)
    return site / PACKAGE.name


def built_for_this_user(environment: Path) -> Path:
    """As `triton-python stub build` leaves it in the cache."""
    cores = environment.parent / "cache" / "cores"
    cores.mkdir(mode=0o700, parents=True)
    cores.parent.chmod(0o700)
    for core in PACKAGE.glob("_core.*.so"):
        shutil.copy(core, cores)
    return cores


@pytest.mark.parametrize("put", [in_its_own_installation, built_for_this_user])
def test_it_is_taken_from_the_environment_or_from_what_was_built(
    put: Callable[[Path], Path], server: TritonServer, environment: Path
) -> None:
    place = put(environment)
    write(server, environment)

    with Client(server) as client:
        client.load("m")
        prefix, core, package = json.loads(client.error("m", ONE))

    assert prefix == str(environment)
    assert Path(core).parent == place
    # What is written in Python is the server's.
    assert Path(package).is_relative_to(server.start.backend_dir)


def test_where_there_is_none_the_load_says_how_to_build_it(server: TritonServer, environment: Path) -> None:
    write(server, environment)

    with Client(server) as client:
        error = client.load_error("m")

    assert "is built for no Python at all" in error
    assert f"triton-python stub build --python {environment}/bin/python3" in error
