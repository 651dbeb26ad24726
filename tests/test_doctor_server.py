"""The doctor's checks of the server, the C library and our backend: broken for real, and the advice read."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import pytest
from doctoring import Copy, examine
from installing import small_server
from trees import copy_of_server

import triton_python
from triton_python import CheckResult, __version__, _download, diagnose, install_backend
from triton_python._doctor import server as server_checks
from triton_python._download import PYTRITON, downloaded_binary, server_folder

INSTALLED = Path(triton_python.__file__).parent / "backends" / "python" / "libtriton_python.so"


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "copy")


@pytest.fixture
def tree(triton_server_binary: Path, tmp_path: Path) -> Path:
    """The folder of a copy of the real server, to be broken."""
    return copy_of_server(triton_server_binary.resolve().parents[1], tmp_path / "tree")


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server anywhere, but for a download in an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TRITON_SERVER", raising=False)
    monkeypatch.setattr("triton_python._server.CONTAINER_ROOT", tmp_path / "nowhere")


def check(name: str, **options: str) -> CheckResult:
    (result,) = [one for one in diagnose(**options) if one.name == name]  # type: ignore[arg-type]
    return result


# --- server ---


def test_the_server_is_named_with_its_version_and_how_it_was_found(tree: Path) -> None:
    (tree / "TRITON_VERSION").write_text("2.59.1\n")

    found = examine("--server", str(tree))["server"]

    assert found.status == "ok"
    binary = tree / "bin" / "tritonserver"
    assert found.found == f"{binary} (Triton 2.59.1), found through --server {tree}"


def test_the_managed_server_has_a_version_too(bare_machine: None, tree: Path) -> None:
    managed = server_folder(PYTRITON)
    managed.parent.mkdir(parents=True)
    tree.parent.parent.rename(managed)

    found = check("server")

    assert (
        f"{downloaded_binary(PYTRITON)} (Triton {PYTRITON.triton}), found through the managed" in found.found
    )


def test_a_place_without_a_server_is_told(tmp_path: Path) -> None:
    report = examine("--server", str(tmp_path))

    assert report["server"].status == "failed"
    assert f"--server {tmp_path} names no Triton server" in report["server"].found
    assert "correct the path, or leave it away" in report["server"].advice
    assert report["server-start"].advice == report["server-backend"].advice == "see the check `server`"


def test_a_machine_without_a_server_is_told_how_to_get_one(bare_machine: None) -> None:
    found = check("server")

    assert (found.status, found.found) == ("warning", "there is no Triton server on this machine yet")
    assert "`triton-python server install` fetches one" in found.advice
    assert check("server-start").status == check("server-backend").status == "ok"


def test_a_machine_that_cannot_have_one_is_told(bare_machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")

    found = check("server")

    assert found.status == "failed"
    assert "is for x86-64, this is aarch64" in found.advice


# --- server-start ---


def test_a_missing_library_is_named(tree: Path) -> None:
    libraries = tree.parent.parent / "nvidia_pytriton.libs"
    (library,) = libraries.glob("libb64-*")
    library.unlink()

    report = examine("--server", str(tree))

    assert report.exit_status == 1
    found = report["server-start"]
    assert found.status == "failed"
    assert f"needs libraries that are not on this machine: {library.name}" in found.found
    assert found.advice == "install them, or add their folder to LD_LIBRARY_PATH"


def test_a_damaged_managed_server_is_to_be_fetched_again(bare_machine: None, tree: Path) -> None:
    managed = server_folder(PYTRITON)
    managed.parent.mkdir(parents=True)
    tree.parent.parent.rename(managed)
    next(managed.rglob("libb64-*")).unlink()

    assert (
        "`triton-python server remove --yes`, then `triton-python server install`"
        in check("server-start").advice
    )


def test_a_library_that_is_cut_off_is_told(tree: Path) -> None:
    libraries = tree.parent.parent / "nvidia_pytriton.libs"
    (library,) = libraries.glob("libb64-*")
    library.unlink()
    library.write_text("too short")

    found = examine("--server", str(tree))["server-start"]

    assert found.status == "failed"
    assert "does not start (status 127)" in found.found
    assert library.name in found.found
    assert found.advice == "run it by hand with --help"


def test_a_program_that_is_no_server_is_told(tmp_path: Path) -> None:
    server = small_server(tmp_path / "server")
    binary = server / "bin" / "tritonserver"
    binary.write_text("#!/bin/sh\necho something else\n")
    binary.chmod(0o755)

    found = examine("--server", str(server))["server-start"]

    assert found.status == "failed"
    assert f"{binary} does not start (status 0): something else" in found.found


def test_a_program_that_cannot_be_executed_is_told(tmp_path: Path) -> None:
    server = small_server(tmp_path / "server")
    (server / "bin" / "tritonserver").chmod(0o755)
    (server / "bin" / "tritonserver").write_text("neither a script nor a program")

    found = examine("--server", str(server))["server-start"]

    assert found.status == "failed"
    assert "Exec format error" in found.found


# --- glibc ---


def test_a_library_for_a_newer_system_is_told(copy: Copy) -> None:
    content = copy.library.read_bytes()
    newest = max(re.findall(rb"\0GLIBC_2\.\d\d\0", content))
    copy.library.write_bytes(content.replace(newest, b"\0GLIBC_2.99\0"))

    found = copy.examine()["glibc"]

    assert found.status == "failed"
    assert "the backend library needs glibc 2.99, this system has " in found.found
    assert "a wheel of triton-python-backend that was built on this system or an older one" in found.advice


def test_a_system_too_old_for_the_managed_server_is_told(
    bare_machine: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_download, "system_glibc", lambda: (2, 31))
    monkeypatch.setattr(server_checks, "system_glibc", lambda: (2, 31))
    monkeypatch.setattr(server_checks, "_needed_glibc", lambda library: (2, 28))

    found = check("glibc")

    assert found.status == "failed"
    assert "the Triton server that can be fetched needs glibc 2.35, this system has 2.31" in found.found
    assert "use Debian 12, Ubuntu 22.04 or newer, or another server with --server" in found.advice
    own = small_server(tmp_path / "server")
    (own / "bin" / "tritonserver").chmod(0o755)
    assert check("glibc", server=str(own)).status == "ok"


def test_another_c_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda name: None)

    found = check("glibc")

    assert (found.status, found.found) == ("failed", "the C library of this system is not glibc")


# --- backend ---


def test_a_missing_library_of_ours_is_told(copy: Copy) -> None:
    copy.library.unlink()

    report = copy.examine()

    assert report["backend"].status == "failed"
    assert f"{copy.library} is missing" in report["backend"].found
    assert "pip install --force-reinstall" in report["backend"].advice


def test_a_missing_package_of_ours_is_told(copy: Copy) -> None:
    copy.package.rename(copy.package.with_name("elsewhere"))
    (copy.site / "others.pth").unlink()  # where the package of this environment would be found instead
    packages = INSTALLED.parents[3]
    for entry in packages.iterdir():
        if not entry.name.startswith(("triton_python", "__pycache__")):
            (copy.site / entry.name).symlink_to(entry)

    found = copy.examine()["backend"]

    assert found.status == "failed"
    assert "the package triton_python_backend_utils is missing" in found.found


@pytest.mark.parametrize("file", ["launch/stub_main.py", "_bytes.py"])
def test_files_that_are_missing_or_changed_are_named(copy: Copy, file: str) -> None:
    (copy.package / file).unlink()
    with (copy.package / "_lookup.py").open("a") as changed:
        changed.write("\n")

    found = copy.examine()["backend"]

    assert found.status == "failed"
    assert f"{copy.package / file} (missing)" in found.found
    assert f"{copy.package / '_lookup.py'}" in found.found
    assert "pip install --force-reinstall" in found.advice


def test_many_changed_files_are_counted(copy: Copy) -> None:
    changed = sorted(copy.package.glob("*.py"))
    for file in changed:
        file.write_text(file.read_text() + "\n")

    assert f" and {len(changed) - 5} more" in copy.examine()["backend"].found


# --- server-backend ---


@pytest.fixture
def server(tmp_path: Path) -> Path:
    folder = small_server(tmp_path / "server")
    (folder / "bin" / "tritonserver").chmod(0o755)
    return folder


def server_backend(server: Path) -> CheckResult:
    return check("server-backend", server=str(server))


def test_another_backend_in_the_server_is_named(server: Path) -> None:
    found = server_backend(server)

    assert found.status == "ok"
    assert f"{server}/backends/python is another python backend: `serve` uses ours" in found.found
    assert "--backend-directory=$(triton-python backend-dir)" in found.found
    assert f"`triton-python install {server}/backends`" in found.found


def test_a_server_without_a_python_backend_is_fine(tmp_path: Path) -> None:
    server = small_server(tmp_path / "other", python=False)
    (server / "bin" / "tritonserver").chmod(0o755)

    assert "the server has no python backend of its own" in server_backend(server).found


def test_ours_in_the_server_is_fine(server: Path) -> None:
    install_backend(server)

    found = server_backend(server)

    assert found.status == "ok"
    assert found.found == f"{server}/backends/python is triton-python-backend {__version__}"


def test_an_older_one_of_ours_in_the_server_is_told(server: Path) -> None:
    marker = install_backend(server).folder / "triton-python.json"
    marker.write_text(marker.read_text().replace(f'"version": "{__version__}"', '"version": "0.0.1"'))

    found = server_backend(server)

    assert found.status == "warning"
    assert f"{server}/backends/python is triton-python-backend 0.0.1, this is {__version__}" in found.found
    assert f"bring it up to date: `triton-python install {server}/backends`" in found.advice


def test_a_broken_one_of_ours_in_the_server_is_told(server: Path) -> None:
    folder = install_backend(server).folder
    (folder / "libtriton_python.so").unlink()
    (folder / "interpreter.txt").write_text("changed")

    found = server_backend(server)

    assert found.status == "failed"
    assert "missing or changed: interpreter.txt, libtriton_python.so" in found.found
    assert f"install it again: `triton-python install {server}/backends`" in found.advice


def test_one_of_ours_whose_python_is_gone_is_told(server: Path) -> None:
    marker = install_backend(server).folder / "triton-python.json"
    marker.write_text(re.sub(r'"interpreter": ".*"', '"interpreter": "/gone/python3"', marker.read_text()))

    found = server_backend(server)

    assert found.status == "warning"
    assert "names /gone/python3 for models, which is not there or not for this user" in found.found
    assert "install it from a Python that stays" in found.advice
