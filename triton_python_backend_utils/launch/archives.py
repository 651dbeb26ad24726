"""Unpacks an archive into a folder of its own: completely and safely, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .limits import Budget, Limits
from .problem import EnvironmentProblem, reason_of, size_text
from .removal import remove_tree
from .streams import Damaged, open_stream
from .tars import unpack_tar
from .tree import Tree
from .zips import unpack_zip

__all__ = ["KINDS", "Limits", "Unpacked", "kind_of", "unpack"]

KINDS = ".tar.gz, .tar.zst, .tar.xz, .tar.bz2, .tar or .zip"

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Unpacked:
    """What came out of an archive: bytes, and files including links."""

    bytes: int
    files: int


def kind_of(fd: int) -> str | None:
    """How the file is packed, by its content: gzip, bzip2, xz, zstd, tar, zip, or None: it is no archive."""
    start = os.pread(fd, tarfile.BLOCKSIZE, 0)
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            return kind
    if start[1:4] == b"\x2a\x4d\x18" and 0x50 <= start[0] <= 0x5F:  # a frame of zstd that is to be skipped
        return "zstd"
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return None
    return "tar"


def unpack(
    archive: BinaryIO,
    name: Path,
    target: Path,
    limits: Limits | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Unpacked:
    """Unpacks the open file `archive` into the new folder `target`, which is gone again if that fails.

    `name` is for messages. `progress` hears often how many bytes of how many of the archive have been read;
    what it raises ends the work.

    Raises:
        EnvironmentProblem: it is no archive, or damaged, hostile, or too much for the limits or the disk.
    """
    fd = archive.fileno()
    total = os.fstat(fd).st_size
    budget = Budget(limits or Limits(), str(name), total)

    def position() -> int:
        return min(os.lseek(fd, 0, os.SEEK_CUR), total)

    target.mkdir()
    try:
        tree = Tree(target, str(name), budget)
        _unpack_into(tree, fd, name, budget, lambda: progress(position(), total))
        tree.check_links()
        return Unpacked(budget.bytes, tree.files)
    except BaseException as error:
        read = position()
        # Removing may take long, too. Who raised anything else does not want to hear more.
        hears = isinstance(error, (EnvironmentProblem, Damaged, OSError))
        with contextlib.suppress(OSError):
            remove_tree(target, (lambda: progress(read, total)) if hears else lambda: None)
        if isinstance(error, Damaged):
            raise EnvironmentProblem(
                f"{name} is damaged or incomplete: {error}. Pack it again, or copy it again and compare its "
                "checksum with the original's"
            ) from error
        if isinstance(error, OSError):
            raise EnvironmentProblem(_not_written(error, name, target, budget.bytes, read, total)) from error
        raise


def _unpack_into(tree: Tree, fd: int, name: Path, budget: Budget, report: Callable[[], None]) -> None:
    kind = kind_of(fd)
    if kind is None:
        what = "is empty" if os.fstat(fd).st_size == 0 else "is no archive of a kind that is known"
        raise EnvironmentProblem(f"{name} {what}. An environment's archive is a {KINDS}")
    if kind == "zip":
        unpack_zip(fd, name, tree, budget, report)
        return
    stream, closable = open_stream("" if kind == "tar" else kind, fd, budget, report)
    with contextlib.closing(closable):
        unpack_tar(stream, tree, budget)


def _not_written(error: OSError, name: Path, target: Path, written: int, read: int, total: int) -> str:
    place = target.parent
    if error.errno not in _FULL:
        return f"{name} cannot be unpacked into {place}: {reason_of(error)}"
    need = f", of about {size_text(written * total / read)}" if read else ""
    return (
        f"{name} cannot be unpacked into {place}: {reason_of(error)} after {size_text(written)}{need}. "
        f"{size_text(shutil.disk_usage(place).free)} are free there. Make room, or choose another folder "
        "with --backend-config=python,environment-cache-directory=PATH"
    )
