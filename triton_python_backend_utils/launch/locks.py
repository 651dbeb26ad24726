"""Locks on files that other processes remove: flock, and a look whether the file is still the one."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from .problem import EnvironmentProblem, reason_of


def open_lock(path: Path) -> int:
    """A descriptor for a lock file, which is made if it is missing. Closing it lets go of what it holds."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def try_lock(fd: int, path: Path, exclusive: bool) -> bool:
    """Whether the lock could be had at once; what the descriptor held before is lost if not.

    Raises:
        EnvironmentProblem: the file system has no locks.
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise EnvironmentProblem(
            f"{path.parent} cannot be used by several processes, because its file system has no locks "
            f"({reason_of(error)}). Choose a folder on a local disk with "
            "--backend-config=python,environment-cache-directory=PATH"
        ) from error
    return True


def unlock(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_UN)


def is_current(fd: int, path: Path) -> bool:
    """Whether `path` still is the file that was opened. If not, whoever locks it locks nobody out."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
