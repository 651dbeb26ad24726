"""Where a server is looked for, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from triton_python import TritonPythonError, TritonServer, _server, locate_server
from triton_python._download import PYTRITON, downloaded_binary


def stand_in(binary: Path) -> Path:
    binary.parent.mkdir(parents=True, exist_ok=True)
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    return binary


def located(explicit: str = "") -> TritonServer:
    server = locate_server(explicit)
    assert server is not None
    return server


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server anywhere: every test adds the ones that it is about."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(_server.SERVER_VARIABLE, raising=False)
    monkeypatch.setattr(_server, "CONTAINER_ROOT", tmp_path / "opt" / "tritonserver")


@pytest.fixture
def container_server(tmp_path: Path) -> Path:
    return stand_in(tmp_path / "opt" / "tritonserver" / "bin" / "tritonserver")


@pytest.fixture
def installed_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What installing nvidia-pytriton leaves in site-packages."""
    site = tmp_path / "site"
    metadata = site / "nvidia_pytriton-0.6.1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: nvidia-pytriton\nVersion: 0.6.1\n")
    monkeypatch.syspath_prepend(site)
    return stand_in(site / "pytriton" / "tritonserver" / "bin" / "tritonserver")


@pytest.fixture
def downloaded_server() -> Path:
    return stand_in(downloaded_binary(PYTRITON))


def test_nothing_is_found_on_a_bare_machine() -> None:
    assert locate_server() is None


def test_a_download_of_before_is_found(downloaded_server: Path) -> None:
    server = located()

    assert server.binary == downloaded_server
    assert server.source == "the managed download of nvidia-pytriton 0.7.0"


def test_an_installed_pytriton_comes_before_the_download(
    installed_server: Path, downloaded_server: Path
) -> None:
    server = located()

    assert server.binary == installed_server
    assert server.source == "the installed nvidia-pytriton 0.6.1"


def test_an_installed_pytriton_without_a_server_is_passed_over(
    installed_server: Path, downloaded_server: Path
) -> None:
    installed_server.unlink()

    assert located().binary == downloaded_server


def test_the_container_comes_before_an_installed_pytriton(
    container_server: Path, installed_server: Path
) -> None:
    assert located().binary == container_server


def test_the_variable_comes_before_the_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, container_server: Path
) -> None:
    mine = stand_in(tmp_path / "mine" / "bin" / "tritonserver")
    monkeypatch.setenv("TRITON_SERVER", str(mine))

    assert located().binary == mine
    assert located().source == f"the environment variable TRITON_SERVER={mine}"


def test_an_explicit_path_comes_before_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRITON_SERVER", str(stand_in(tmp_path / "variable" / "bin" / "tritonserver")))
    mine = stand_in(tmp_path / "mine" / "bin" / "tritonserver")

    assert located(str(mine)).binary == mine


def test_a_folder_stands_for_the_program_in_its_bin(tmp_path: Path) -> None:
    mine = stand_in(tmp_path / "mine" / "bin" / "tritonserver")

    assert located(str(tmp_path / "mine")).binary == mine


def test_the_backends_lie_beside_what_a_link_points_to(tmp_path: Path, container_server: Path) -> None:
    link = tmp_path / "usr" / "bin" / "tritonserver"
    link.parent.mkdir(parents=True)
    link.symlink_to(container_server)

    server = located(str(link))

    assert server.root == container_server.parent.parent
    assert server.backends_dir == server.root / "backends"


def test_an_explicit_path_without_a_server_is_an_error(tmp_path: Path, container_server: Path) -> None:
    with pytest.raises(
        TritonPythonError, match=r"--server .*nowhere names no Triton server: .*does not exist"
    ):
        locate_server(str(tmp_path / "nowhere"))


def test_a_variable_without_a_server_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, container_server: Path
) -> None:
    monkeypatch.setenv("TRITON_SERVER", str(tmp_path / "nowhere"))

    with pytest.raises(TritonPythonError, match=r"the environment variable TRITON_SERVER=.*does not exist"):
        locate_server()


def test_a_file_that_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "tritonserver").write_text("not a program")

    with pytest.raises(TritonPythonError, match="is not an executable file"):
        locate_server(str(tmp_path / "tritonserver"))
