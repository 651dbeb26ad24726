"""Unpacks the entries of a zip archive, with the modes and links that Unix programs put into them."""

from __future__ import annotations

import os
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from lzma import LZMAError
from pathlib import Path

from .limits import Budget
from .problem import EnvironmentProblem, reason_of
from .streams import CHUNK, Damaged
from .tree import Tree, write_all

LONGEST_LINK = 4096

_ENCRYPTED, _UTF8 = 0x1, 0x800
_TIME_FIELD = 0x5455
_NONSENSE = (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, struct.error, ValueError, LookupError)


def unpack_zip(fd: int, archive: Path, tree: Tree, budget: Budget, report: Callable[[], None]) -> None:
    """Writes all of it into `tree`.

    Raises:
        Damaged: it is cut off or makes no sense.
        EnvironmentProblem: `tree` or `budget` refuses an entry, or it is compressed in an unusual way.
        OSError: the disk refuses it.
    """
    with os.fdopen(os.dup(fd), "rb") as file:
        try:
            with zipfile.ZipFile(file) as opened:
                for entry in opened.infolist():
                    report()
                    _unpack_entry(opened, entry, tree, _Counted(budget, report))
        except _NONSENSE as error:
            raise Damaged(reason_of(error)) from error
        except (NotImplementedError, RuntimeError) as error:
            raise EnvironmentProblem(
                f"{archive} cannot be unpacked: {reason_of(error)}. Pack it with the usual compression, "
                "without a password"
            ) from error


class _Counted:
    """Reads an entry with the limits kept and signs of life given."""

    def __init__(self, budget: Budget, report: Callable[[], None]) -> None:
        self._budget = budget
        self._report = report

    def copy(self, opened: zipfile.ZipFile, entry: zipfile.ZipInfo, write: Callable[[bytes], None]) -> None:
        with opened.open(entry) as content:
            while data := content.read(CHUNK):  # to its end, where the checksum is compared
                self._budget.spend(len(data))
                write(data)
                self._report()


def _unpack_entry(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, tree: Tree, counted: _Counted) -> None:
    name = _raw_name(entry)
    mode = entry.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if name.endswith(b"/") or kind == stat.S_IFDIR:
        tree.folder(name, mode or 0o755)
    elif kind == stat.S_IFLNK:
        target = bytearray()

        def take(data: bytes) -> None:
            target.extend(data)
            if len(target) > LONGEST_LINK:
                raise Damaged(f"the link '{entry.filename}' is too long")

        counted.copy(opened, entry, take)
        tree.link(name, bytes(target))
    elif kind in (stat.S_IFREG, 0):

        def fill(fd: int) -> None:
            counted.copy(opened, entry, lambda data: write_all(fd, data))

        tree.file(name, mode or 0o644, _changed_ns(entry), fill)
    else:
        raise tree.refuse(name, "a device, a named pipe or a socket")


def _raw_name(entry: zipfile.ZipInfo) -> bytes:
    """The name as it lies in the archive: programs of Unix write UTF-8 without saying so."""
    return entry.orig_filename.encode("utf-8" if entry.flag_bits & _UTF8 else "cp437")


def _changed_ns(entry: zipfile.ZipInfo) -> int:
    """When the file was changed: in seconds where Unix programs noted it, else in two seconds' steps."""
    extra = entry.extra
    while len(extra) >= 4:
        field, size = struct.unpack_from("<HH", extra)
        if field == _TIME_FIELD and size >= 5 and len(extra) >= 9 and extra[4] & 1:
            return int(struct.unpack_from("<i", extra, 5)[0]) * 1_000_000_000
        extra = extra[4 + size :]
    try:
        return int(time.mktime((*entry.date_time, 0, 0, -1))) * 1_000_000_000
    except (ValueError, OverflowError):
        return 0
