"""`triton-python install` and `uninstall` as operators run them, also where they must not or cannot write."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command import COMMAND, complaint, run
from installing import library_text, scratch_left, small_server
from restricted import in_namespace, may_mount, with_limit, without_powers
from trees import snapshot

from triton_python import __version__


@pytest.fixture
def server(tmp_path: Path) -> Path:
    return small_server(tmp_path / "server")


def run_command(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_they_say_what_they_have_done_and_print_the_folder(server: Path) -> None:
    backends = server / "backends"

    first, again = run("install", str(server)), run("install", str(server))
    last = run("uninstall", str(server))

    assert [result.returncode for result in (first, again, last)] == [0, 0, 0]
    assert {result.stdout for result in (first, again, last)} == {f"{backends}/python\n"}
    assert f"{backends}/python is triton-python-backend {__version__} now" in first.stderr
    assert f"the backend that was there before is kept in {backends}/python.nvidia" in first.stderr
    assert f"start its server with --backend-directory={backends}" in first.stderr
    assert f"{backends}/python is triton-python-backend {__version__}, installed again" in again.stderr
    assert f"{backends}/python is the backend again that was there before" in last.stderr


def test_they_name_what_was_added(server: Path) -> None:
    python = server / "backends" / "python"
    run("install", str(server))
    (python / "mine.txt").write_text("")

    again, last = run("install", str(server)), run("uninstall", str(server))

    assert f"kept from the old one, not ours: {python}/mine.txt" in again.stderr
    assert f"kept in {server}/backends/python.added, not ours: mine.txt" in last.stderr


def test_an_update_names_both_versions(server: Path) -> None:
    marker = server / "backends" / "python" / "triton-python.json"
    run("install", str(server))
    marker.write_text(marker.read_text().replace(f'"version": "{__version__}"', '"version": "0.0.1"'))

    said = run("install", str(server)).stderr

    assert f"was triton-python-backend 0.0.1 and is {__version__} now" in said


def test_uninstall_of_what_is_not_ours_is_told(server: Path) -> None:
    sentence = complaint(run("uninstall", str(server)))

    assert (
        f"{server}/backends/python was not put there by triton-python (it has no triton-python.json)"
        in sentence
    )


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_a_folder_of_somebody_else_gets_a_hint(server: Path, command: str) -> None:
    if command == "uninstall":
        run("install", str(server))
    backends = server / "backends"
    before = snapshot(server)
    backends.chmod(0o555)
    try:
        sentence = complaint(run_command(without_powers([COMMAND, command, str(server)])))
    finally:
        backends.chmod(0o755)

    again = shlex.join([sys.executable, "-m", "triton_python", command, str(backends)])
    assert f"cannot change {backends}: Permission denied" in sentence
    assert f"run it as the folder's owner: sudo {again}" in sentence
    assert snapshot(server) == before


def test_a_full_disk_leaves_the_old_backend(server: Path) -> None:
    before = snapshot(server)

    # In units of 1 KiB: less than the library has.
    sentence = complaint(run_command(with_limit("-f", 100, [COMMAND, "install", str(server)])))

    assert f"could not install in {server}/backends: File too large" in sentence
    assert "nothing is half done: mend that and try again" in sentence
    assert snapshot(server) == before


def test_a_disk_that_is_really_full_leaves_the_old_backend(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    if not may_mount("tmpfs", "size=100k", str(place)):
        pytest.skip("this machine does not let the test mount a file system of its own")
    small_server(tmp_path / "server")
    there = f"{place}/server"

    result = in_namespace(
        f"""
        mount -t tmpfs -o size=500k none {place}
        cp -a {tmp_path}/server {place}
        {COMMAND} install {there} && exit 9
        cat {there}/backends/python/libtriton_python.so
        ls -A {there}/backends
        """
    )

    assert result.returncode == 0, result
    assert result.stdout.split("\n") == ["their libraryonnxruntime", "python", ""]
    assert "No space left on device" in result.stderr


def test_a_read_only_place_is_told(tmp_path: Path) -> None:
    place = small_server(tmp_path / "server")
    result = in_namespace(
        f"""
        mount --bind {place} {place} || exit 77
        mount -o remount,ro,bind {place} || exit 77
        {COMMAND} install {place} && exit 9
        exit 0
        """
    )
    if result.returncode == 77:
        pytest.skip("this machine does not let the test mount a folder read-only")

    assert result.returncode == 0, result
    assert (
        f"cannot change {place}/backends: Read-only file system; it has to be done where the" in result.stderr
    )


def test_in_the_layers_of_a_container_image_folders_are_copied(tmp_path: Path) -> None:
    """The kernel does not rename the folders of a lower layer: those of the image, in every container."""
    server = small_server(tmp_path / "lower" / "server")
    for name in ("upper", "work", "merged", "upper2", "work2", "merged2"):
        (tmp_path / name).mkdir()
    before = snapshot(server)

    result = in_namespace(_IN_LAYERS.format(folder=tmp_path, command=COMMAND, python=sys.executable))

    if result.returncode == 77:
        pytest.skip("this machine does not let the test mount an overlay")
    assert result.returncode == 0, result
    # What is left of it all, read through both layers while they were mounted.
    (tmp_path / "result").rename(tmp_path / "final")
    assert snapshot(tmp_path / "final") == before
    assert library_text(server) == "their library"
    assert scratch_left(tmp_path / "final") == []


# Installed in one layer, uninstalled in the next, as two lines of a Dockerfile would do.
_IN_LAYERS = """
over() {{
    mount -t overlay none -o "$1,userxattr" "$2" 2>/dev/null || mount -t overlay none -o "$1" "$2" || exit 77
}}
over lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work {folder}/merged
{python} -c "import os; os.rename('{folder}/merged/server', '{folder}/merged/s')" 2>/dev/null && exit 76
{command} install {folder}/merged/server
grep -q "their library" {folder}/merged/server/backends/python.nvidia/libtriton_python.so
umount {folder}/merged
over lowerdir={folder}/upper:{folder}/lower,upperdir={folder}/upper2,workdir={folder}/work2 {folder}/merged2
{command} install {folder}/merged2/server
{command} uninstall {folder}/merged2/server
cp -a {folder}/merged2/server {folder}/result
"""
