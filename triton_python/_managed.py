"""Removes the managed download of the server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from triton_python._cache import exclusive
from triton_python._download import PYTRITON, PinnedWheel, server_folder
from triton_python._errors import TritonPythonError


@dataclass(frozen=True)
class RemovedServer:
    """What `remove_server` has done."""

    folder: Path
    freed_bytes: int


def remove_server(wheel: PinnedWheel = PYTRITON) -> RemovedServer | None:
    """Deletes the managed download; None when there is none. The next `serve` fetches it again.

    Raises:
        TritonPythonError: it is running, as far as that can be seen, or it cannot be deleted.
    """
    folder = server_folder(wheel)
    if not folder.exists():
        return None
    with exclusive(folder.parent / f".{folder.name}.lock"):
        users = list(_users(folder))
        if users:
            raise TritonPythonError(f"the server in {folder} is in use by {', '.join(users)}: stop it first")
        freed = disk_usage(folder)
        # Renamed first, so that nobody ever finds a server of which a part is missing.
        garbage = folder.with_name(f".{folder.name}.partial-removed")
        try:
            if garbage.exists():
                shutil.rmtree(garbage)
            folder.rename(garbage)
            shutil.rmtree(garbage)
        except OSError as error:
            raise TritonPythonError(
                f"cannot delete {folder}: {error.strerror or error}; its owner can"
            ) from error
    return RemovedServer(folder, freed)


def disk_usage(folder: Path) -> int:
    """The bytes that deleting it frees: not those of files that have another name elsewhere."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            status = Path(parent, name).lstat()
            total += status.st_blocks * 512 if status.st_nlink == 1 else 0
    return total


def _users(folder: Path) -> Iterator[str]:
    """Processes that have mapped a program or a library of the folder; those of others cannot be seen."""
    inside = f"{folder.resolve()}/"
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            if inside in (process / "maps").read_text(errors="replace"):
                yield f"process {process.name} ({(process / 'comm').read_text().strip()})"
        except OSError:
            continue  # it has ended, or is not ours to look at
