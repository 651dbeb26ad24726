"""Writes a tree as an archive: always the same bytes for the same tree, whoever packs it and when."""

from __future__ import annotations

import gzip
import importlib
import lzma
import shutil
import stat
import struct
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from triton_python._env.tree import File, Link, Tree
from triton_python._errors import TritonPythonError

CHUNK = 1 << 20
_UNIX_TIME = struct.Struct("<HHBi")  # of a zip: in seconds, where its own time has steps of two
SUFFIXES = (".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar", ".zip")
# Told with the bytes of files that are done.
Told = Callable[[int], None]


def suffix_of(name: str) -> str:
    """The suffix that says how to write `name`. Raises TritonPythonError if it says nothing."""
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return suffix
    raise TritonPythonError(
        f"the name {name} does not say what kind of archive to write: end it with one of "
        f"{', '.join(SUFFIXES)}"
    )


def write_archive(tree: Tree, target: Path, suffix: str, fast: bool, told: Told) -> None:
    """Writes `target` anew.

    Args:
        fast: rather quick to write than small.

    Raises:
        TritonPythonError: this machine cannot write such an archive.
        OSError: a file cannot be read, or the archive cannot be written.
    """
    with target.open("xb") as raw:
        if suffix == ".zip":
            _write_zip(tree, raw, 1 if fast else 6, told)
            return
        with _compressed(raw, suffix, fast) as stream, _tar(stream) as tar:
            for place, entry in tree.ordered():
                _add_to_tar(tar, place, entry, told)


def _tar(stream: BinaryIO) -> tarfile.TarFile:
    return tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK)


def _add_to_tar(tar: tarfile.TarFile, place: str, entry: File | Link, told: Told) -> None:
    member = tarfile.TarInfo(place)  # owner and group are 0
    if isinstance(entry, Link):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, entry.target, 0o777
        tar.addfile(member)
        return
    member.size, member.mtime, member.mode = entry.size, entry.mtime, _mode(entry)
    with entry.source.open("rb") as file:
        tar.addfile(member, _Counted(file, told))


def _write_zip(tree: Tree, raw: BinaryIO, level: int, told: Told) -> None:
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for place, entry in tree.ordered():
            if isinstance(entry, Link):
                member = zipfile.ZipInfo(place)
                member.create_system = 3  # Unix, so that the mode counts
                member.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(member, entry.target)
                continue
            # A zip knows no year before 1980, and no time zone.
            member = zipfile.ZipInfo(place, max(time.gmtime(entry.mtime)[:6], (1980, 1, 1, 0, 0, 0)))
            member.create_system = 3
            member.external_attr = (stat.S_IFREG | _mode(entry)) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            member.file_size = entry.size
            member.extra = _UNIX_TIME.pack(0x5455, 5, 1, min(entry.mtime, 0x7FFFFFFF))
            with entry.source.open("rb") as file, archive.open(member, "w") as stream:
                shutil.copyfileobj(_Counted(file, told), stream, CHUNK)


def _mode(entry: File) -> int:
    return 0o755 if entry.executable else 0o644


class _Counted:
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, told: Told) -> None:
        self._file = file
        self._told = told

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._told(len(content))
        return content


@contextmanager
def _compressed(raw: BinaryIO, suffix: str, fast: bool) -> Iterator[BinaryIO]:
    if suffix in (".tar.gz", ".tgz"):
        with gzip.GzipFile("", "wb", 1 if fast else 6, raw, mtime=0) as stream:
            yield stream  # type: ignore[misc]
    elif suffix == ".tar.xz":
        with lzma.LZMAFile(raw, "wb", preset=0 if fast else 6) as stream:
            yield stream  # type: ignore[misc]
    elif suffix == ".tar.zst":
        with _zstandard(raw, 1 if fast else 9) as stream:
            yield stream
    else:
        yield raw


@contextmanager
def _zstandard(raw: BinaryIO, level: int) -> Iterator[BinaryIO]:
    """By Python's own module since 3.14, by the package `zstandard`, or by the program `zstd`."""
    standard, package = _module("compression.zstd"), _module("zstandard")
    if standard is not None:
        with standard.ZstdFile(raw, "w", level=level) as stream:
            yield stream
        return
    if package is not None:
        with package.ZstdCompressor(level=level).stream_writer(raw, closefd=False) as stream:
            yield stream
        return
    program = shutil.which("zstd")
    if program is None:
        raise TritonPythonError(
            "nothing here can write .tar.zst: install it (python -m pip install zstandard, or "
            "'triton-python-backend[pack]'), or write .tar.gz"
        )
    command = [program, "-q", "-c", f"-{level}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=raw, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        with process.stdin as stream:
            yield stream  # type: ignore[misc]
        said = process.stderr.read().decode("utf-8", "replace").strip()
    if process.returncode != 0:
        raise OSError(f"{program} ended with status {process.returncode}: {said}")


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
