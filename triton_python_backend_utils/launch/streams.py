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
from typing import IO, Any, Protocol

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

    def close(self) -> None: ...


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


def open_stream(kind: str, fd: int, budget: Budget, report: Callable[[], None]) -> tuple[Stream, Source]:
    """The decompressed bytes of the file `fd`, from its start; the second is to be closed.

    `kind` is how it is compressed: "gzip", "bzip2", "xz", "zstd" or "" for not at all.

    Raises:
        EnvironmentProblem: nothing here can decompress that.
    """
    os.lseek(fd, 0, os.SEEK_SET)
    if kind == "zstd":
        source, errors = _zstd(fd)
        return Stream(source, errors, budget, report), source
    file = _reader(fd)
    if kind == "gzip":
        return Stream(gzip.GzipFile(fileobj=file), (OSError, zlib.error), budget, report), file
    if kind == "bzip2":
        return Stream(bz2.BZ2File(file), (OSError,), budget, report), file
    if kind == "xz":
        return Stream(lzma.LZMAFile(file), (lzma.LZMAError, OSError), budget, report), file
    return Stream(file, (OSError,), budget, report), file


def _reader(fd: int) -> IO[bytes]:
    return os.fdopen(os.dup(fd), "rb", buffering=CHUNK)


def _zstd(fd: int) -> tuple[Source, tuple[type[Exception], ...]]:
    """The standard library of Python 3.14, or one of the packages or the program that do the same."""
    for find in (_standard_zstd, _backport_zstd):
        module = find()
        if module is not None:
            return module.ZstdFile(_reader(fd)), (module.ZstdError, OSError)
    try:
        zstandard: Any = import_module("zstandard")
        return _Frames(_reader(fd), zstandard), (zstandard.ZstdError, OSError)
    except ImportError:
        pass
    program = shutil.which("zstd")
    if program is not None:
        return _Program([program, "-d", "-c", "-q"], fd), ()
    raise EnvironmentProblem(
        "to unpack archives that are compressed with zstd, the Python that starts the models needs the "
        "package backports.zstd or zstandard, or the system the program zstd. Install one of them, "
        "or pack as .tar.gz"
    )


def _standard_zstd() -> Any:
    try:
        return import_module("compression.zstd")
    except ImportError:
        return None


def _backport_zstd() -> Any:
    try:
        return import_module("backports.zstd")
    except ImportError:
        return None


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

    def close(self) -> None:
        self._file.close()


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
