"""Removes a folder with signs of life: an environment can have a hundred thousand files."""

# A Path for each of the names would take longer than to remove them.
# ruff: noqa: PTH101, PTH106, PTH108, PTH114, PTH118

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def remove_tree(folder: Path, alive: Callable[[], None] = lambda: None) -> None:
    """Removes the folder and all in it, if it is there. Links are removed, not followed.

    Raises:
        OSError: something cannot be removed.
    """
    if not folder.is_symlink() and not folder.exists():
        return
    for parent, _, _ in os.walk(folder):  # what cannot be entered could not be emptied
        os.chmod(parent, 0o700)
        alive()
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in folders:
            path = os.path.join(parent, name)
            if os.path.islink(path):
                os.unlink(path)
            else:
                os.rmdir(path)
        for name in files:
            os.unlink(os.path.join(parent, name))
        alive()
    os.rmdir(folder)
