"""Unpacks the entries of a tar archive, from first to last.

`tarfile` reads the headers. It is not asked for more: its extraction follows links, trusts declared lengths,
and takes an archive that was cut off between two entries for a whole one.
"""

from __future__ import annotations

import os
import tarfile
from typing import Any

from .limits import Budget
from .streams import CHUNK, Damaged, Stream
from .tree import Tree, write_all

# Its exceptions of this kind are in no documentation, and in every version.
_tarfile: Any = tarfile
# What it raises for headers that make no sense, in one version or another.
_NONSENSE = (
    tarfile.TarError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
)


def unpack_tar(stream: Stream, tree: Tree, budget: Budget) -> None:
    """Writes all of it into `tree`.

    Raises:
        Damaged: it is cut off or makes no sense.
        EnvironmentProblem: `tree` or `budget` refuses an entry.
        OSError: the disk does.
    """
    file: Any = stream
    try:
        tar = tarfile.TarFile(fileobj=file, encoding="utf-8", errors="surrogateescape")
        member = tar.next()
    except _NONSENSE as error:
        raise Damaged(f"there is no tar archive in it ({error})") from error
    while member is not None:
        stream.seek(member.offset_data)
        _unpack_member(member, stream, tree, budget)
        stream.seek(tar.offset)
        member = _next(tar)
    stream.finish()


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    """The next entry, or None at the mark that ends an archive."""
    try:
        return tarfile.TarInfo.fromtarfile(tar)
    except _tarfile.EOFHeaderError:
        return None
    except (_tarfile.EmptyHeaderError, _tarfile.TruncatedHeaderError) as error:
        raise Damaged("it is cut off: its end mark is missing") from error
    except _NONSENSE as error:
        raise Damaged(f"the header of an entry makes no sense ({error})") from error


def _unpack_member(member: tarfile.TarInfo, stream: Stream, tree: Tree, budget: Budget) -> None:
    name, target = _bytes(member.name), _bytes(member.linkname)
    if member.isreg():
        tree.file(name, member.mode, _ns(member.mtime), lambda fd: _copy(member, stream, budget, fd))
    elif member.isdir():
        tree.folder(name, member.mode)
    elif member.issym():
        tree.link(name, target)
    elif member.islnk():
        tree.hard_link(name, target)
    elif member.ischr() or member.isblk():
        raise tree.refuse(name, "a device")
    elif member.isfifo():
        raise tree.refuse(name, "a named pipe")
    else:
        raise tree.refuse(name, f"of a kind that is not known ({member.type!r})")


def _copy(member: tarfile.TarInfo, stream: Stream, budget: Budget, fd: int) -> None:
    sparse: list[tuple[int, int]] | None = getattr(member, "sparse", None)
    if sparse is None:
        _copy_piece(stream, fd, member.size)
        return
    # Only what is no hole lies in the archive, piece after piece. A hole costs nothing but looks large.
    budget.check_size(member.size)
    end = 0
    for offset, size in sparse:
        if not (end <= offset and size >= 0 and offset + size <= member.size):
            raise Damaged(f"the holes of '{member.name}' make no sense")
        os.lseek(fd, offset, os.SEEK_SET)
        _copy_piece(stream, fd, size)
        end = offset + size
    os.ftruncate(fd, member.size)


def _copy_piece(stream: Stream, fd: int, size: int) -> None:
    while size > 0:
        data = stream.read(min(size, CHUNK))
        if not data:
            raise Damaged("it is cut off")
        write_all(fd, data)
        size -= len(data)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _ns(seconds: float) -> int:
    try:
        return int(seconds * 1_000_000_000)
    except (ValueError, OverflowError):
        return 0
