"""The folder of downloaded servers and composed backend folders, shared by all processes of a user."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from triton_python._errors import TritonPythonError


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/triton-python`, or `~/.cache/triton-python`; not created here."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    base = Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"
    return base / "triton-python"


def writable_dir(path: Path) -> Path:
    """`path`, created with its parents.

    Raises:
        TritonPythonError: it cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TritonPythonError(_cannot_write(path, error)) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise TritonPythonError(_cannot_write(path, PermissionError("permission denied")))
    return path


@contextmanager
def exclusive(lock_file: Path) -> Iterator[None]:
    """Holds `lock_file` against other processes; the kernel lets go of it if this process dies.

    The file itself stays: removing it would let a third process lock a new file of the same name
    while a second one still waits for the old.
    """
    writable_dir(lock_file.parent)
    with lock_file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _cannot_write(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return (
        f"cannot write to the cache folder {path} ({reason}): set XDG_CACHE_HOME to a folder that you can "
        "write to"
    )
