"""Exchanges and moves folders so that there is always an old one or a new one, whatever interrupts it.

Where the folders of a container image lie (overlayfs), the kernel refuses to rename them. There a folder is
moved by copying it in full and removing the original; a note beside it names both until the original is gone,
so that whoever comes next can finish.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path

MOVING_NOTE = ".python.triton-python-moving"
MOVING_COPY = ".python.triton-python-copy"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CANNOT_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.ENOTSUP, errno.EOPNOTSUPP}


def exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step; False, and nothing has happened, where the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False  # a C library from before 2018, or another one
    names = (os.fsencode(one), os.fsencode(other))
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    error = ctypes.get_errno()
    if error in _CANNOT_EXCHANGE:
        return False
    raise OSError(error, os.strerror(error), str(one), None, str(other))


def move(source: Path, target: Path) -> None:
    """Renames a folder to a name beside it that is free."""
    try:
        source.rename(target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    copy, note = source.parent / MOVING_COPY, source.parent / MOVING_NOTE
    remove(copy)
    copy_tree(source, copy)
    note.write_text(f"{source.name}\n{target.name}\n")
    copy.rename(target)
    remove(source)
    note.unlink()


def finish_moving(parent: Path) -> None:
    """Ends a `move` in this folder that was interrupted."""
    remove(parent / MOVING_COPY)
    note = parent / MOVING_NOTE
    if note.is_file():
        source, target = note.read_text().split()
        if (parent / target).exists():
            remove(parent / source)
        note.unlink()


def discard(folder: Path, garbage: Path) -> None:
    """Removes a folder that must never be seen half removed: first it gets a name that says so."""
    remove(garbage)
    try:
        folder.rename(garbage)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        remove(folder)
    remove(garbage)


def copy_tree(source: Path, target: Path) -> None:
    """Copies a folder with links, permissions, times and, for root, owners."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
        return
    shutil.copytree(source, target, symlinks=True)
    if os.geteuid() == 0:
        for folder, folders, files in os.walk(source):
            for name in (".", *folders, *files):
                original = Path(folder, name)
                status = original.lstat()
                copy = target / original.relative_to(source)
                os.chown(copy, status.st_uid, status.st_gid, follow_symlinks=False)
                if not copy.is_symlink():
                    copy.chmod(status.st_mode & 0o7777)  # chown takes the set-user-id bit away


def remove(path: Path) -> None:
    """Removes a folder, a link or a file, if there is one."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
