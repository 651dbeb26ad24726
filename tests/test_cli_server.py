"""`triton-python server install` and `remove`: the managed copy of the server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import complaint, run

from triton_python import RemovedServer, TritonPythonError, remove_server
from triton_python._download import PYTRITON, downloaded_binary, server_folder


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "triton-python" / "server"


@pytest.fixture
def managed(own_cache: Path) -> Path:
    """A program in the place of the downloaded server."""
    binary = downloaded_binary(PYTRITON)
    binary.parent.mkdir(parents=True)
    shutil.copy("/bin/sleep", binary)
    return binary


@pytest.fixture
def running(managed: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([managed, "1000"])
    yield process
    process.kill()
    process.wait()


def left_behind(own_cache: Path) -> list[str]:
    return sorted(entry.name for entry in own_cache.iterdir() if entry.suffix != ".lock")


def test_install_prints_the_program_that_is_there(managed: Path) -> None:
    result = run("server", "install", TRITON_SERVER="/another/one")

    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{managed}\n"
    assert "is there already" in result.stderr


def test_install_fetches_even_where_another_server_would_be_used(tmp_path: Path, own_cache: Path) -> None:
    (tmp_path / "empty").mkdir()
    where = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "empty"), "TRITON_SERVER": "/another/one"}

    sentence = complaint(run("server", "install", **where))

    assert f"pip could not download {PYTRITON.requirement}" in sentence
    assert left_behind(own_cache) == []


def test_remove_deletes_it_and_says_how_much_is_free(managed: Path, own_cache: Path) -> None:
    with managed.with_name("big").open("wb") as file:
        file.write(os.urandom(3_000_000))

    result = run("server", "remove", "--yes")

    assert result.returncode == 0, result.stderr
    assert f"removed {server_folder(PYTRITON)}, 3 MB are free again" in result.stderr
    assert left_behind(own_cache) == []


def test_what_has_another_name_elsewhere_does_not_count_as_freed(managed: Path, tmp_path: Path) -> None:
    os.link(managed, tmp_path / "other")

    assert remove_server() == RemovedServer(server_folder(PYTRITON), 0)


def test_remove_asks_and_takes_no_for_an_answer(managed: Path) -> None:
    result = run("server", "remove", stdin="n\n")

    assert result.returncode == 1
    assert f"Delete the Triton server in {server_folder(PYTRITON)}?" in result.stderr
    assert managed.exists()


def test_remove_asks_and_takes_yes_for_an_answer(managed: Path) -> None:
    result = run("server", "remove", stdin="y\n")

    assert result.returncode == 0, result.stderr
    assert not managed.exists()


def test_remove_without_anybody_to_ask_changes_nothing(managed: Path) -> None:
    assert run("server", "remove").returncode == 1
    assert managed.exists()


def test_remove_of_nothing_is_no_error() -> None:
    result = run("server", "remove", "--yes")

    assert result.returncode == 0
    assert "there is no managed server" in result.stderr
    assert remove_server() is None


def test_remove_refuses_while_the_server_runs(managed: Path, running: subprocess.Popen[bytes]) -> None:
    sentence = complaint(run("server", "remove", "--yes"))

    assert f"is in use by process {running.pid} (tritonserver): stop it first" in sentence
    assert managed.exists()


def test_what_cannot_be_deleted_is_told(monkeypatch: pytest.MonkeyPatch, managed: Path) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)

    with pytest.raises(TritonPythonError, match=r"cannot delete .*: Permission denied; its owner can"):
        remove_server()
    assert managed.exists()
