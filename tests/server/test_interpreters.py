"""Which Python runs a model: the one that is set, the one on PATH, or the one that installed the backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, identity_config, model_code, write_model
from serving.server import TritonServer
from serving.types import StartServer

ONE = {"IN": np.array([1], np.float32)}
TELLING = """
import json
import sys

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        seen = json.dumps([sys.executable, sys.prefix])
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError(seen)) for _ in requests]
"""


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python of this version without numpy or anything else."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python3"
    without = subprocess.run([python, "-c", "import numpy"], capture_output=True, check=False)
    assert b"No module named 'numpy'" in without.stderr
    return python


def interpreter_of(server: TritonServer) -> str:
    write_model(server.start.repository, "m", TELLING, identity_config())
    with Client(server) as client:
        client.load("m")
        executable, prefix = json.loads(client.error("m", ONE))
    assert Path(executable).is_relative_to(prefix)
    return str(executable)


def reason(server: TritonServer) -> str:
    """What the log says of the choice: `PATH (why)`."""
    (line,) = [line for line in server.log().splitlines() if "model 'm' runs in " in line]
    return line.partition("model 'm' runs in ")[2].rstrip('"')


def on_path(*folders: Path) -> dict[str, str | None]:
    return {"PATH": os.pathsep.join([*(str(folder) for folder in folders), "/usr/bin", "/bin"])}


def this_python(path: str) -> bool:
    """The Python of this environment, whatever its name there, and not the one that its links lead to."""
    return Path(path).parent == Path(sys.executable).parent


def test_the_one_that_is_set_wins(start_server: StartServer, bare_python: Path) -> None:
    server = start_server(
        settings={"python-executable": sys.executable}, environment=on_path(bare_python.parent)
    )
    assert interpreter_of(server) == sys.executable
    assert reason(server) == f"{sys.executable} (--backend-config=python,python-executable)"


def test_python3_on_path_is_next(start_server: StartServer) -> None:
    server = start_server(environment=on_path(Path(sys.executable).parent))
    assert this_python(interpreter_of(server))
    assert reason(server).endswith("(python3 on the server's PATH)")


def test_one_on_path_that_cannot_run_models_is_passed_over(
    start_server: StartServer, bare_python: Path
) -> None:
    server = start_server(environment=on_path(bare_python.parent))
    assert interpreter_of(server) == sys.executable
    assert reason(server) == f"{sys.executable} (the Python that installed the backend)"


@pytest.mark.parametrize("path", ["/nonexistent", "", "bin", None])
def test_without_one_on_path_the_installing_one_serves(start_server: StartServer, path: str | None) -> None:
    server = start_server(environment={"PATH": path})
    assert interpreter_of(server) == sys.executable
    assert reason(server) == f"{sys.executable} (the Python that installed the backend)"


def test_a_script_on_path_is_asked_for_the_real_one(start_server: StartServer, tmp_path: Path) -> None:
    """As pyenv's shims are: the log and the process have the interpreter itself."""
    shim = tmp_path / "shims" / "python3"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    shim.chmod(0o755)
    server = start_server(environment=on_path(shim.parent))
    assert interpreter_of(server) == sys.executable
    assert reason(server) == f"{sys.executable} (python3 on the server's PATH)"


def test_a_virtual_environment_stays_one(start_server: StartServer, bare_python: Path) -> None:
    """Its packages come from its own folder; here from where a .pth file of it points."""
    site = next((bare_python.parent.parent / "lib").glob("python*/site-packages"))
    numpy_parent = Path(np.__file__).parent.parent
    link = site / "numpy_of_the_test.pth"
    link.write_text(f"{numpy_parent}\n")
    try:
        server = start_server(settings={"python-executable": str(bare_python)})
        assert interpreter_of(server) == str(bare_python)
    finally:
        link.unlink()


@pytest.mark.parametrize("path", ["/no/such/python", "relative/python3", "/etc/passwd", "/tmp"])
def test_one_that_is_set_and_does_not_exist_fails_the_load(start_server: StartServer, path: str) -> None:
    server = start_server(settings={"python-executable": path})
    write_model(server.start.repository, "m", model_code("identity"), identity_config())
    with Client(server) as client:
        error = client.load_error("m")
    assert f"'{path}' of --backend-config=python,python-executable" in error
    assert "numpy" in error
    assert server.is_live()


def test_one_that_is_set_and_has_no_numpy_says_what_to_install(
    start_server: StartServer, bare_python: Path
) -> None:
    server = start_server(settings={"python-executable": str(bare_python)})
    write_model(server.start.repository, "m", model_code("identity"), identity_config())
    with Client(server) as client:
        error = client.load_error("m")
    assert "cannot import numpy" in error
    assert str(bare_python) in error
    assert "pip install" in error
    assert server.is_live()


def test_one_that_is_set_and_is_no_python_says_how_it_ended(start_server: StartServer) -> None:
    server = start_server(settings={"python-executable": "/bin/false"})
    write_model(server.start.repository, "m", model_code("identity"), identity_config())
    with Client(server) as client:
        error = client.load_error("m")
    assert "Stub process 'm' is not healthy." in error or "Stub process '' is not healthy." in error
    assert "exited with status 1" in error


def test_no_python_anywhere_says_what_was_tried(
    start_server: StartServer, backend_dir: Path, bare_python: Path, tmp_path: Path
) -> None:
    """A backend folder whose recorded Python has gone."""
    own = tmp_path / "backends" / "python"
    own.mkdir(parents=True)
    for entry in (backend_dir / "python").iterdir():
        if entry.name != "interpreter.txt":
            (own / entry.name).symlink_to(entry.resolve())
    (own / "interpreter.txt").write_text("/gone/python3\n")
    server = start_server(backend_dir=own.parent, environment=on_path(bare_python.parent))
    write_model(server.start.repository, "m", model_code("identity"), identity_config())
    with Client(server) as client:
        error = client.load_error("m")
    assert str(bare_python) in error
    assert "/gone/python3" in error
    assert "--backend-config=python,python-executable=" in error


def test_variables_of_python_reach_the_model_as_they_reach_the_server(start_server: StartServer) -> None:
    """PYTHONPATH is the user's to set."""
    server = start_server(environment={"PYTHONPATH": "/some/folder", "LD_LIBRARY_PATH": "/a:/b"})
    code = TELLING.replace("[sys.executable, sys.prefix]", "[sys.path, dict(__import__('os').environ)]")
    write_model(server.start.repository, "m", code, config({"IN": ("FP32", [-1])}))
    with Client(server) as client:
        client.load("m")
        path, environment = json.loads(client.error("m", ONE))
    assert "/some/folder" in path
    assert environment["LD_LIBRARY_PATH"] == "/a:/b"
