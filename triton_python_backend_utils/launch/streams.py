"""The bytes of a compressed archive, as they come out of it: counted, limited, and read in one direction."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import subprocess
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import IO, Any, NamedTuple, Protocol

from .limits import Budget
from .problem import EnvironmentProblem, reason_of

CHUNK = 1 << 20
# tarfile asks for the header of an entry in one piece, however long it says that it is.
LONGEST_READ = 8 << 20


class Damaged(Exception):
    """The archive is cut off or corrupt; the message says how, without naming it."""


class Source(Protocol):
    """Where decompressed bytes come from."""

    def read(self, size: int, /) -> bytes: ...


class Closable(Protocol):
    """What is to be closed after reading."""

    def close(self) -> None: ...


class Opened(NamedTuple):
    """A source, what its reading keeps open, and the errors that mean that the data is damaged."""

    source: Source
    closable: Closable
    errors: tuple[type[Exception], ...]


class Stream:
    """What `tarfile` reads from. It seeks forward only."""

    def __init__(
        self, source: Source, errors: tuple[type[Exception], ...], budget: Budget, report: Callable[[], None]
    ) -> None:
        """`errors` are those that mean that the compressed data is damaged."""
        self._source = source
        self._errors: tuple[type[Exception], ...] = (EOFError, *errors)
        self._budget = budget
        self._report = report
        self._position = 0

    def read(self, size: int) -> bytes:
        """So many bytes, or fewer at the end.

        Raises:
            Damaged: the compressed data is, or wants to be read in too large a piece.
            EnvironmentProblem: it has become too much.
        """
        if not 0 <= size <= LONGEST_READ:
            raise Damaged(f"it has a header of {size} bytes")
        pieces = []
        while size:
            try:
                piece = self._source.read(min(size, CHUNK))
            except self._errors as error:
                raise Damaged(reason_of(error)) from error
            if not piece:
                break
            self._budget.spend(len(piece))
            pieces.append(piece)
            size -= len(piece)
            self._position += len(piece)
        self._report()
        return b"".join(pieces)

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        """Skip to `position`.

        Raises:
            Damaged: it lies behind, or past the end.
        """
        if position < self._position:
            raise Damaged("an entry has a length that makes no sense")
        while self._position < position:
            if not self.read(min(position - self._position, CHUNK)):
                raise Damaged("it is cut off")

    def finish(self) -> None:
        """Read what is left, which checks the checksums at the very end."""
        while self.read(CHUNK):
            pass


def open_stream(kind: str, fd: int, budget: Budget, report: Callable[[], None]) -> tuple[Stream, Closable]:
    """The decompressed bytes of the file `fd`, from its start, and what is to be closed after them.

    `kind` is how it is compressed: "gzip", "bzip2", "xz", "zstd" or "" for not at all.

    Raises:
        EnvironmentProblem: nothing here can decompress that.
    """
    os.lseek(fd, 0, os.SEEK_SET)
    source, closable, errors = _OPENERS[kind](fd)
    return Stream(source, errors, budget, report), closable


def _plain(fd: int) -> Opened:
    file = _reader(fd)
    return Opened(file, file, (OSError,))


def _reader(fd: int) -> IO[bytes]:
    return os.fdopen(os.dup(fd), "rb", buffering=CHUNK)


def _gzip(fd: int) -> Opened:
    file = _reader(fd)
    return Opened(gzip.GzipFile(fileobj=file), file, (OSError, zlib.error))


def _bzip2(fd: int) -> Opened:
    file = _reader(fd)
    return Opened(bz2.BZ2File(file), file, (OSError,))


def _xz(fd: int) -> Opened:
    file = _reader(fd)
    return Opened(lzma.LZMAFile(file), file, (lzma.LZMAError, OSError))


def _zstd(fd: int) -> Opened:
    for find in ZSTD:
        found = find(fd)
        if found is not None:
            return found
    raise EnvironmentProblem(
        "to unpack archives that are compressed with zstd, the Python that starts the models needs the "
        "package backports.zstd or zstandard, or the system the program zstd. Install one of them, "
        "or pack as .tar.gz"
    )


def _standard_zstd(fd: int) -> Opened | None:
    """In Python from 3.14 on."""
    try:
        return _zstd_file(fd, import_module("compression.zstd"))
    except ImportError:
        return None


def _backport_zstd(fd: int) -> Opened | None:
    try:
        return _zstd_file(fd, import_module("backports.zstd"))
    except ImportError:
        return None


def _zstd_file(fd: int, zstd: Any) -> Opened:
    file = _reader(fd)
    return Opened(zstd.ZstdFile(file), file, (zstd.ZstdError, OSError))


def _package_zstd(fd: int) -> Opened | None:
    try:
        zstandard: Any = import_module("zstandard")
    except ImportError:
        return None
    file = _reader(fd)
    return Opened(_Frames(file, zstandard), file, (zstandard.ZstdError, OSError))


def _program_zstd(fd: int) -> Opened | None:
    path = shutil.which("zstd")
    if path is None:
        return None
    program = _Program([path, "-d", "-c", "-q"], fd)
    return Opened(program, program, ())


# What can decompress zstd, the first choice first.
ZSTD = [_standard_zstd, _backport_zstd, _package_zstd, _program_zstd]

_OPENERS: dict[str, Callable[[int], Opened]] = {
    "": _plain,
    "gzip": _gzip,
    "bzip2": _bzip2,
    "xz": _xz,
    "zstd": _zstd,
}


class _Frames:
    """What the package `zstandard` decompresses, with an error where the last frame is cut off."""

    # A few bytes can become very many, all at once.
    PIECE = 4096

    def __init__(self, file: IO[bytes], zstandard: Any) -> None:
        self._file = file
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame: Any = None
        self._input = b""
        self._ready = b""

    def read(self, size: int, /) -> bytes:
        while not self._ready:
            self._input = self._input or self._file.read(self.PIECE)
            if not self._input:
                if self._frame is not None:
                    raise EOFError("Compressed data ended before the end of its last frame")
                return b""
            self._frame = self._frame or self._decompressor.decompressobj()
            self._ready = self._frame.decompress(self._input)
            self._input = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        data, self._ready = self._ready[:size], self._ready[size:]
        return data


class _Program:
    """What a program decompresses, from the file `fd`."""

    def __init__(self, command: list[str], fd: int) -> None:
        self._process = subprocess.Popen(command, stdin=fd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def read(self, size: int, /) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if not data and self._process.wait() != 0:
            assert self._process.stderr is not None
            words = self._process.stderr.read(4096).decode("utf-8", "replace").strip().splitlines()
            raise EOFError(words[-1] if words else "zstd failed")
        return data

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
