"""The folder for --backend-directory: our backend beside links to the server's others."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from triton_python import TritonServer, backend_directory
from triton_python._backend_dir import Installation


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    site = tmp_path / "site"
    package = site / "triton_python_backend_utils"
    package.mkdir(parents=True)
    library = site / "libtriton_python.so"
    library.write_text("the library")
    return Installation(library=library, package=package, interpreter="/some/venv/bin/python")


@pytest.fixture
def server(tmp_path: Path) -> TritonServer:
    root = tmp_path / "server"
    for backend in ("onnxruntime", "python", "identity"):
        (root / "backends" / backend).mkdir(parents=True)
    return TritonServer(
        binary=root / "bin" / "tritonserver", root=root, backends_dir=root / "backends", source="the test"
    )


def identity(path: Path) -> tuple[int, int]:
    """Changes whenever the folder is made anew or written."""
    return path.stat().st_ino, path.stat().st_mtime_ns


def test_it_holds_our_backend_and_links_the_servers_others(
    server: TritonServer, installation: Installation
) -> None:
    folder = backend_directory(server, installation)

    assert sorted(entry.name for entry in folder.iterdir()) == ["identity", "onnxruntime", "python"]
    assert (folder / "onnxruntime").readlink() == server.backends_dir / "onnxruntime"
    ours = folder / "python"
    assert not ours.is_symlink()
    library = ours / "libtriton_python.so"
    assert (
        not library.is_symlink()
    )  # core refuses one that leads out of the folder for a python-based backend
    assert library.read_bytes() == installation.library.read_bytes()
    assert (ours / "triton_python_backend_utils").readlink() == installation.package
    assert (ours / "interpreter.txt").read_text() == "/some/venv/bin/python\n"


def test_without_a_server_it_holds_our_backend_alone(installation: Installation) -> None:
    folder = backend_directory(None, installation)

    assert [entry.name for entry in folder.iterdir()] == ["python"]


def test_it_is_reused(server: TritonServer, installation: Installation) -> None:
    first = backend_directory(server, installation)
    before = identity(first / "python")

    again = backend_directory(server, installation)

    assert again == first
    assert identity(again / "python") == before


def test_another_interpreter_gets_another_folder(server: TritonServer, installation: Installation) -> None:
    first = backend_directory(server, installation)

    other = backend_directory(server, replace(installation, interpreter="/other/bin/python"))

    assert other != first
    assert (other / "python" / "interpreter.txt").read_text() == "/other/bin/python\n"
    assert (first / "python" / "interpreter.txt").read_text() == "/some/venv/bin/python\n"


def test_another_library_gets_another_folder(server: TritonServer, installation: Installation) -> None:
    first = backend_directory(server, installation)
    before = installation.library.read_bytes()
    installation.library.write_bytes(b"a newer one")

    other = backend_directory(server, installation)

    assert other != first
    assert (other / "python" / "libtriton_python.so").read_bytes() == b"a newer one"
    assert (first / "python" / "libtriton_python.so").read_bytes() == before


def test_a_backend_that_the_server_gained_is_linked(server: TritonServer, installation: Installation) -> None:
    backend_directory(server, installation)
    (server.backends_dir / "pytorch").mkdir()

    assert (backend_directory(server, installation) / "pytorch").is_dir()


def test_a_damaged_folder_is_repaired(
    server: TritonServer, installation: Installation, own_cache: Path
) -> None:
    folder = backend_directory(server, installation)
    (folder / "onnxruntime").unlink()
    (folder / "python" / "interpreter.txt").write_text("/gone\n")
    (folder / "python" / "libtriton_python.so").write_bytes(b"")

    assert backend_directory(server, installation) == folder

    assert (folder / "onnxruntime").is_dir()
    assert (folder / "python" / "interpreter.txt").read_text() == "/some/venv/bin/python\n"
    library = (folder / "python" / "libtriton_python.so").read_bytes()
    assert library == installation.library.read_bytes()
    kept = sorted(entry.name for entry in (own_cache / "triton-python" / "backends").iterdir())
    assert kept == sorted([".lock", folder.name])


def test_the_installation_is_the_one_of_this_python() -> None:
    installation = Installation.current()

    assert installation.interpreter == sys.executable
    assert installation.library.name == "libtriton_python.so"
    assert (installation.package / "__init__.py").is_file()
