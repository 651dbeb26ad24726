"""`triton-python install` into a copy of the real server, which then runs models with what was installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import identity_config, model_code, write_model
from serving.types import StartServer
from trees import copy_of_server, snapshot

from triton_python import diagnose, install_backend, locate_server, uninstall_backend

VALUES = {"IN": np.arange(5, dtype=np.float32)}


@pytest.fixture
def tree(triton_server_binary: Path, tmp_path: Path) -> Path:
    """A copy of the server's folder that takes no room."""
    return copy_of_server(triton_server_binary.resolve().parents[1], tmp_path / "copy")


def test_a_server_loads_models_through_the_installed_backend(
    tree: Path, tmp_path: Path, start_server: StartServer
) -> None:
    before = snapshot(tree)
    folder = install_backend(tree).folder

    server = start_server(backend_dir=tree / "backends")
    write_model(server.start.repository, "m", model_code("identity"), identity_config())
    with Client(server) as client:
        client.load("m")
        answer = client.infer("m", VALUES)
        mapped = server.process.mentions(str(folder / "libtriton_python.so"))
        scripts = [part for stub in server.all_stubs() for part in stub.command() if part.endswith(".py")]

    np.testing.assert_array_equal(answer["OUT"], VALUES["IN"])
    assert mapped
    assert scripts == [f"{folder}/triton_python_backend_utils/launch/stub_main.py"]
    assert server.stop() == 0
    uninstall_backend(tree)
    assert snapshot(tree) == before


def test_the_doctor_knows_the_installed_backend(tree: Path) -> None:
    binary = tree / "bin" / "tritonserver"
    assert binary.is_file()
    install_backend(tree)

    (result,) = [one for one in diagnose(server=str(binary)) if one.name == "server-backend"]

    assert result.status == "ok"
    server = locate_server(str(binary))
    assert server is not None
    assert result.found.startswith(f"{server.backends_dir / 'python'} is triton-python-backend ")
