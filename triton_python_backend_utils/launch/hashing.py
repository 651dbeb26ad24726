"""The digest of an archive, remembered for as long as the file does not change."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

CHUNK = 1 << 20
# A file that changed a moment ago may change again without another time of change.
SETTLED_NS = 2_000_000_000


class Changed(Exception):
    """The archive has changed while it was read."""


def identity(fd: int) -> list[int]:
    """What tells one state of a file from another."""
    status = os.fstat(fd)
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


class KnownArchives:
    """The folder that remembers digests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def digest(self, archive: Path, fd: int) -> str | None:
        """The SHA-256 of the archive, 64 hexadecimal digits, if it is known in the state that it has now."""
        try:
            known = json.loads(self._file(archive).read_text("utf-8"))
            is_same = known["identity"] == identity(fd)
            digest = str(known["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return digest if is_same and re.fullmatch("[0-9a-f]{64}", digest) else None

    def remember(self, archive: Path, state: list[int], digest: str) -> None:
        """The digest of the archive in that state, unless it is too fresh to be told from the next one."""
        changed_ns = state[-1]
        if time.time_ns() - changed_ns > SETTLED_NS:
            what = {"archive": str(archive), "identity": state, "digest": digest}
            with suppress(OSError):  # such as a full disk: it is read again next time
                write_json(self._file(archive), what)

    def forget_missing(self) -> None:
        """Forget the archives that are not there any more, and drafts that a crash left."""
        for draft in self._folder.glob("*.draft"):
            draft.unlink(missing_ok=True)  # one that is being written is only lost
        for file in self._folder.glob("*.json"):
            try:
                is_there = Path(json.loads(file.read_text("utf-8"))["archive"]).exists()
            except (OSError, ValueError, KeyError, TypeError):
                is_there = False
            if not is_there:
                file.unlink(missing_ok=True)

    def _file(self, archive: Path) -> Path:
        real = os.fsencode(os.path.realpath(archive))
        return self._folder / f"{hashlib.sha256(real).hexdigest()}.json"


def digest_of(fd: int, progress: Callable[[int, int], None]) -> str:
    """The SHA-256 of a file that does not change meanwhile, 64 hexadecimal digits.

    Raises:
        Changed: it did.
    """
    state, total = identity(fd), os.fstat(fd).st_size
    digest, position = hashlib.sha256(), 0
    while data := os.pread(fd, CHUNK, position):
        digest.update(data)
        position += len(data)
        progress(min(position, total), total)
    if identity(fd) != state:
        raise Changed
    return digest.hexdigest()


def write_json(file: Path, content: object) -> None:
    """Replaces the file in one step: nobody ever reads a part of it."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.draft")
    try:
        draft.write_text(json.dumps(content), "utf-8")
        draft.replace(file)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
