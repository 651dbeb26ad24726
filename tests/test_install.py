"""Our backend in a server that is there already: put in, brought up to date, taken out again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from installing import library_text, small_installation, small_server
from trees import snapshot

from triton_python import (
    InstalledBackend,
    TritonPythonError,
    UninstalledBackend,
    __version__,
    install_backend,
    uninstall_backend,
)
from triton_python._backend_dir import Installation
from triton_python._cache import cache_dir

MARKER = "triton-python.json"


@pytest.fixture
def server(tmp_path: Path) -> Path:
    return small_server(tmp_path / "server")


@pytest.fixture
def python(server: Path) -> Path:
    return server / "backends" / "python"


@pytest.fixture
def kept(server: Path) -> Path:
    return server / "backends" / "python.nvidia"


@pytest.fixture
def ours(tmp_path: Path) -> Installation:
    return small_installation(tmp_path / "ours")


def marker(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / MARKER).read_text()))


# --- install ---


def test_install_puts_ours_in_and_keeps_what_was_there(
    server: Path, python: Path, kept: Path, ours: Installation
) -> None:
    before = snapshot(python)

    done = install_backend(server, ours)

    assert done == InstalledBackend(python, __version__, replaced=None, kept=kept, carried=())
    assert library_text(server) == "our library, new"
    assert (python / "interpreter.txt").read_text() == "/new/bin/python\n"
    assert (python / "triton_python_backend_utils" / "launch" / "stub_main.py").is_file()
    assert snapshot(kept) == before


def test_what_models_import_is_importable_from_the_folder(server: Path, python: Path) -> None:
    """In NVIDIA's container that folder is on PYTHONPATH, for a file of that name."""
    install_backend(server)

    code = (
        "import triton_python_backend_utils as pb_utils; print(pb_utils.__file__, pb_utils.Tensor.__name__)"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(python)}
    # Not here: Python looks in the working directory first.
    result = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=True)

    assert result.stdout == f"{python}/triton_python_backend_utils/__init__.py Tensor\n"


def test_the_stub_to_copy_into_a_model_is_where_that_of_nvidia_was(server: Path, python: Path) -> None:
    done = install_backend(server)

    stub = done.folder / "triton_python_backend_stub"
    result = subprocess.run([stub], cwd="/", capture_output=True, text=True, check=True)

    assert stub.read_text().splitlines()[0] == f"#!{sys.executable}"
    assert f"{sys.executable} (Python {sys.version.split()[0]})" in result.stdout


def test_the_marker_says_what_was_done(server: Path, python: Path, ours: Installation) -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)

    install_backend(server, ours)

    content = marker(python)
    assert content["version"] == __version__
    assert before <= datetime.fromisoformat(str(content["installed"])) <= datetime.now(timezone.utc)
    assert content["kept"] == "python.nvidia"
    assert content["interpreter"] == "/new/bin/python"
    files = content["files"]
    assert isinstance(files, dict)
    assert sorted(files) == [
        "interpreter.txt",
        "libtriton_python.so",
        "triton_python_backend_stub",
        "triton_python_backend_utils/__init__.py",
        "triton_python_backend_utils/_core.cpython-3.so",
        "triton_python_backend_utils/launch/stub_main.py",
    ]


def test_bytecode_is_made_for_the_final_place(server: Path, python: Path, ours: Installation) -> None:
    install_backend(server, ours)

    (compiled,) = (python / "triton_python_backend_utils" / "__pycache__").glob("__init__.*.pyc")
    assert str(python / "triton_python_backend_utils" / "__init__.py").encode() in compiled.read_bytes()


def test_everybody_may_read_it_whatever_the_umask_is(server: Path, python: Path, ours: Installation) -> None:
    ours.library.chmod(0o700)
    previous = os.umask(0o077)
    try:
        install_backend(server, ours)
    finally:
        os.umask(previous)

    modes = {path: path.stat().st_mode & 0o777 for path in (python, *python.rglob("*"))}
    assert {modes[path] for path in modes if path.is_dir()} == {0o755}
    assert modes.pop(python / "libtriton_python.so") == 0o755
    assert modes.pop(python / "triton_python_backend_stub") == 0o755
    assert {modes[path] for path in modes if path.is_file()} == {0o644}


def test_install_into_a_server_without_a_python_backend_keeps_nothing(
    tmp_path: Path, ours: Installation
) -> None:
    server = small_server(tmp_path / "other", python=False)

    assert install_backend(server, ours).kept is None
    assert marker(server / "backends" / "python")["kept"] is None


def test_install_again_replaces_ours_only(
    server: Path, python: Path, kept: Path, ours: Installation, tmp_path: Path
) -> None:
    before = snapshot(python)
    install_backend(server, ours)

    done = install_backend(server, small_installation(tmp_path / "next", "newer"))

    assert done == InstalledBackend(python, __version__, replaced=__version__, kept=kept, carried=())
    assert library_text(server) == "our library, newer"
    assert snapshot(kept) == before
    assert sorted(entry.name for entry in python.parent.iterdir()) == [
        "onnxruntime",
        "python",
        "python.nvidia",
    ]


def test_install_again_takes_over_what_somebody_has_added_or_changed(
    server: Path, python: Path, ours: Installation, tmp_path: Path
) -> None:
    install_backend(server, ours)
    (python / "notes").mkdir()
    (python / "notes" / "mine.txt").write_text("mine")
    (python / "link").symlink_to("/elsewhere")
    (python / "interpreter.txt").write_text("/my/python\n")

    done = install_backend(server, small_installation(tmp_path / "next", "newer"))

    assert done.carried == ("interpreter.txt.changed", "link", "notes/mine.txt")
    assert (python / "notes" / "mine.txt").read_text() == "mine"
    assert (python / "link").readlink() == Path("/elsewhere")
    assert (python / "interpreter.txt").read_text() == "/newer/bin/python\n"
    assert (python / "interpreter.txt.changed").read_text() == "/my/python\n"


def test_a_second_change_does_not_hide_the_first(server: Path, python: Path, ours: Installation) -> None:
    for text in ("first", "second"):
        install_backend(server, ours)
        (python / "interpreter.txt").write_text(text)
    install_backend(server, ours)

    kept = {path.name: path.read_text() for path in python.glob("interpreter.txt.*")}
    assert sorted(kept.values()) == ["first", "second"]


def test_another_backend_beside_a_kept_one_is_refused(
    server: Path, python: Path, kept: Path, ours: Installation
) -> None:
    kept.mkdir()
    (kept / "file").write_text("")
    before = snapshot(server)

    with pytest.raises(TritonPythonError, match=f"{python} is not ours, and {kept} is there already: remove"):
        install_backend(server, ours)

    assert snapshot(server) == before


def test_an_incomplete_installation_is_refused(server: Path, ours: Installation) -> None:
    (ours.package / "_core.cpython-3.so").unlink()
    before = snapshot(server)

    with pytest.raises(TritonPythonError, match="holds no compiled module"):
        install_backend(server, ours)

    assert snapshot(server) == before


def test_a_link_in_the_place_of_the_backend_is_kept_as_a_link(
    server: Path, python: Path, kept: Path, ours: Installation, tmp_path: Path
) -> None:
    python.rename(tmp_path / "elsewhere")
    python.symlink_to(tmp_path / "elsewhere")

    install_backend(server, ours)
    assert kept.readlink() == tmp_path / "elsewhere"
    assert not python.is_symlink()

    uninstall_backend(server)
    assert python.readlink() == tmp_path / "elsewhere"


# --- which server ---


@pytest.mark.parametrize("place", ["", "backends", "bin/tritonserver"])
def test_the_server_may_be_named_in_three_ways(server: Path, ours: Installation, place: str) -> None:
    install_backend(server / place, ours)

    assert library_text(server) == "our library, new"


def test_a_link_to_the_program_leads_to_its_server(server: Path, ours: Installation, tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "tritonserver").symlink_to(server / "bin" / "tritonserver")

    install_backend(tmp_path / "local" / "tritonserver", ours)

    assert library_text(server) == "our library, new"


@pytest.mark.parametrize("command", [install_backend, uninstall_backend])
@pytest.mark.parametrize("place", ["nowhere", "empty", "server/backends/python"])
def test_a_place_without_a_server_is_told(server: Path, command: object, place: str) -> None:
    (server.parent / "empty").mkdir()

    with pytest.raises(TritonPythonError, match=r"there is no Triton server in .*: give the server's folder"):
        command(server.parent / place)  # type: ignore[operator]


def test_a_server_without_a_folder_of_backends_is_told(tmp_path: Path, ours: Installation) -> None:
    server = small_server(tmp_path / "other", python=False)
    (server / "backends" / "onnxruntime").rmdir()
    (server / "backends").rmdir()

    with pytest.raises(TritonPythonError, match="has no folder `backends`: make one"):
        install_backend(server, ours)


def test_a_folder_that_we_composed_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ours: Installation
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    composed = cache_dir() / "backends" / "0123" / "backends"
    composed.mkdir(parents=True)

    with pytest.raises(
        TritonPythonError, match="was composed by triton-python: our backend is in it already"
    ):
        install_backend(composed, ours)


# --- uninstall ---


def test_uninstall_leaves_everything_as_it_was(server: Path, python: Path, ours: Installation) -> None:
    before = snapshot(server)
    install_backend(server, ours)

    done = uninstall_backend(server)

    assert done == UninstalledBackend(python, __version__, restored=True, added=None, added_files=())
    assert snapshot(server) == before


def test_uninstall_from_a_server_that_had_none_leaves_none(tmp_path: Path, ours: Installation) -> None:
    server = small_server(tmp_path / "other", python=False)
    before = snapshot(server)
    install_backend(server, ours)

    assert not uninstall_backend(server).restored
    assert snapshot(server) == before


def test_uninstall_does_not_mind_bytecode(server: Path, python: Path, ours: Installation) -> None:
    before = snapshot(server)
    install_backend(server, ours)
    (python / "triton_python_backend_utils" / "__pycache__" / "other.cpython-99.pyc").write_text("")

    assert uninstall_backend(server).added is None
    assert snapshot(server) == before


def test_uninstall_keeps_what_somebody_has_added_or_changed(
    server: Path, python: Path, ours: Installation
) -> None:
    install_backend(server, ours)
    (python / "notes").mkdir()
    (python / "notes" / "mine.txt").write_text("mine")
    (python / "interpreter.txt").write_text("/my/python\n")

    done = uninstall_backend(server)

    added = server / "backends" / "python.added"
    assert (done.added, done.added_files) == (added, ("interpreter.txt", "notes/mine.txt"))
    assert (added / "notes" / "mine.txt").read_text() == "mine"
    assert (added / "interpreter.txt").read_text() == "/my/python\n"
    assert library_text(server) == "their library"


def test_what_was_added_before_stays_too(server: Path, python: Path, ours: Installation) -> None:
    for text in ("first", "second"):
        install_backend(server, ours)
        (python / "mine.txt").write_text(text)
        uninstall_backend(server)

    added = server / "backends" / "python.added"
    assert [(added / name).read_text() for name in ("mine.txt", "mine.txt.2")] == ["first", "second"]


def test_uninstall_refuses_what_is_not_ours(server: Path, python: Path) -> None:
    before = snapshot(server)

    with pytest.raises(TritonPythonError, match=f"{python} was not put there by triton-python"):
        uninstall_backend(server)

    assert snapshot(server) == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"distribution": "another", "format": 1}', "\xff"])
def test_a_folder_with_another_marker_is_not_ours(server: Path, python: Path, text: str) -> None:
    (python / MARKER).write_text(text, "latin-1")

    with pytest.raises(TritonPythonError, match="was not put there by triton-python"):
        uninstall_backend(server)


def test_uninstall_of_nothing_is_told(tmp_path: Path) -> None:
    server = small_server(tmp_path / "other", python=False)

    with pytest.raises(TritonPythonError, match=r"there is no .*/backends/python: there is nothing of ours"):
        uninstall_backend(server)


def test_uninstall_refuses_when_what_was_kept_is_gone(
    server: Path, python: Path, kept: Path, ours: Installation, tmp_path: Path
) -> None:
    install_backend(server, ours)
    kept.rename(tmp_path / "moved away")
    before = snapshot(server)

    with pytest.raises(TritonPythonError, match=f"is not in {kept} any more: put it back there, or remove"):
        uninstall_backend(server)

    assert snapshot(server) == before
