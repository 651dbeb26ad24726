"""The managed download, with a small stand-in wheel in a folder in the place of the package index."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from triton_python import TritonPythonError, _download
from triton_python._cache import cache_dir
from triton_python._download import PinnedWheel, download_server, downloaded_binary

SERVER_FILES = (
    "tritonserver/bin/tritonserver",
    "tritonserver/backends/onnx/libtriton_onnx.so",
    "libs/libx.so.1",
)
OTHER_FILES = ("pytriton/triton.py", "tritonserver/stubs/stub")

# Waits for a line, so that two of these start their download at the same moment.
DOWNLOAD_PROGRAM = """
import sys
from triton_python._download import PinnedWheel, download_server
wheel = PinnedWheel("stand-in-server", "1.0", sys.argv[1], "tritonserver/bin/tritonserver",
                    ("tritonserver/bin/", "tritonserver/backends/", "libs/"))
print("ready", flush=True)
sys.stdin.readline()
print(download_server(wheel))
"""


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PinnedWheel:
    """A wheel with a server in it, in the only place where pip looks."""
    folder = tmp_path / "index"
    folder.mkdir()
    archive = folder / "stand_in_server-1.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as content:
        for name in (*SERVER_FILES, *OTHER_FILES):
            member = zipfile.ZipInfo(name)
            member.external_attr = (0o100755 if name.endswith("bin/tritonserver") else 0o100644) << 16
            content.writestr(member, f"content of {name}")
        metadata = "stand_in_server-1.0.dist-info"
        content.writestr(
            f"{metadata}/METADATA", "Metadata-Version: 2.1\nName: stand-in-server\nVersion: 1.0\n"
        )
        content.writestr(
            f"{metadata}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        content.writestr(f"{metadata}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return PinnedWheel(
        distribution="stand-in-server",
        version="1.0",
        sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
        binary=SERVER_FILES[0],
        folders=("tritonserver/bin/", "tritonserver/backends/", "libs/"),
    )


def left_behind() -> list[str]:
    """What the cache holds besides lock files."""
    folder = cache_dir() / "server"
    return sorted(entry.name for entry in folder.iterdir() if entry.suffix != ".lock")


def test_the_server_and_nothing_else_is_unpacked(wheel: PinnedWheel) -> None:
    binary = download_server(wheel)

    root = cache_dir() / "server" / "stand-in-server-1.0"
    assert binary == root / "tritonserver/bin/tritonserver" == downloaded_binary(wheel)
    assert sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()) == sorted(
        SERVER_FILES
    )
    assert os.access(binary, os.X_OK)
    assert left_behind() == ["stand-in-server-1.0"]


def test_the_second_time_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch, wheel: PinnedWheel) -> None:
    first = download_server(wheel)
    monkeypatch.setenv("PIP_FIND_LINKS", "")

    assert download_server(wheel) == first


def test_a_file_with_another_hash_is_refused(wheel: PinnedWheel) -> None:
    with pytest.raises(TritonPythonError, match="is not the file that this release was made for"):
        download_server(replace(wheel, sha256="0" * 64))

    assert left_behind() == []


def test_a_wheel_without_the_program_is_refused(wheel: PinnedWheel) -> None:
    with pytest.raises(TritonPythonError, match=r"holds no tritonserver/bin/other; nothing was kept"):
        download_server(replace(wheel, binary="tritonserver/bin/other"))

    assert left_behind() == []


def test_an_interrupted_unpacking_leaves_nothing(monkeypatch: pytest.MonkeyPatch, wheel: PinnedWheel) -> None:
    unpacked: list[str] = []

    def extract_one(self: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> str:
        if unpacked:
            raise KeyboardInterrupt
        unpacked.append(member.filename)
        return original(self, member, path)

    original = zipfile.ZipFile.extract
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extract", extract_one)
        with pytest.raises(KeyboardInterrupt):
            download_server(wheel)

    assert unpacked
    assert left_behind() == []
    assert download_server(wheel).is_file()


def test_the_remains_of_a_killed_download_are_removed(wheel: PinnedWheel) -> None:
    remains = cache_dir() / "server" / ".stand-in-server-1.0.partial-killed"
    (remains / "wheel").mkdir(parents=True)
    (remains / "wheel" / "half.whl").write_text("half")

    download_server(wheel)

    assert left_behind() == ["stand-in-server-1.0"]


def test_two_downloads_at_once_end_with_one_good_folder(wheel: PinnedWheel, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DOWNLOAD_PROGRAM, wheel.sha256]
    pipe = subprocess.PIPE
    both = [
        subprocess.Popen(command, cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    output = [process.communicate() for process in both]

    assert [process.returncode for process in both] == [0, 0], output
    assert {printed.strip() for printed, _ in output} == {str(downloaded_binary(wheel))}
    assert sum(errors.count("fetching the Triton server") for _, errors in output) == 1
    assert left_behind() == ["stand-in-server-1.0"]


def test_without_a_network_one_sentence_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, wheel: PinnedWheel, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))

    with pytest.raises(TritonPythonError) as raised:
        download_server(wheel)

    message = str(raised.value)
    assert message.startswith("pip could not download stand-in-server==1.0 (ERROR: ")
    assert "connect this machine to a package index" in message
    assert "TRITON_SERVER" in message
    assert "\n" not in message
    assert left_behind() == []


def test_an_old_glibc_is_told_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, wheel: PinnedWheel
) -> None:
    monkeypatch.setattr(_download, "system_glibc", lambda: (2, 31))

    with pytest.raises(TritonPythonError, match=r"needs glibc 2\.35 or newer .*this system has glibc 2\.31"):
        download_server(wheel)


def test_another_c_library_is_told(monkeypatch: pytest.MonkeyPatch, wheel: PinnedWheel) -> None:
    monkeypatch.setattr(os, "confstr", lambda name: None)

    with pytest.raises(TritonPythonError, match="this system has another C library"):
        download_server(wheel)


def test_another_processor_is_told(monkeypatch: pytest.MonkeyPatch, wheel: PinnedWheel) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")

    with pytest.raises(TritonPythonError, match="is for x86-64, this is aarch64"):
        download_server(wheel)


def test_a_python_without_pip_is_told(monkeypatch: pytest.MonkeyPatch, wheel: PinnedWheel) -> None:
    def find_no_pip(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "pip" else original(name, package)

    original = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", find_no_pip)

    with pytest.raises(TritonPythonError, match=r"has no pip; run `.* -m ensurepip` and try again"):
        download_server(wheel)


def test_a_cache_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, wheel: PinnedWheel, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    with pytest.raises(TritonPythonError, match=r"cannot write to the cache folder .*: set XDG_CACHE_HOME"):
        download_server(wheel)
