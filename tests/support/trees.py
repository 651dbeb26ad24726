"""Looks at folders: what lies in them, to be compared with what lay there before."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path


def snapshot(folder: Path) -> dict[str, tuple[str, int, int, str]]:
    """Relative path -> kind, permissions, time of change, content; without the time of the folder itself."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            status = path.lstat()
            relative = str(path.relative_to(folder))
            if path.is_symlink():
                found[relative] = ("link", 0, status.st_mtime_ns, str(path.readlink()))
            elif path.is_dir():
                found[relative] = ("folder", status.st_mode & 0o7777, 0, "")
            else:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                found[relative] = ("file", status.st_mode & 0o7777, status.st_mtime_ns, content)
    return found


def copy_of_server(root: Path, target: Path) -> Path:
    """A copy of a server's folder that runs; that of a wheel finds its libraries in a folder beside it."""
    libraries = root.parent.parent / "nvidia_pytriton.libs"
    if libraries.is_dir():
        copy_with_links(libraries, target / libraries.name)
    return copy_with_links(root, target / root.parent.name / root.name)


def copy_with_links(source: Path, target: Path) -> Path:
    """A copy of a folder whose files share their content with the originals, so that it takes no room."""
    link: Callable[[Path, Path], None] = os.link
    for parent, folders, files in os.walk(source):
        place = target / Path(parent).relative_to(source)
        place.mkdir(parents=True)
        for name in folders:
            if Path(parent, name).is_symlink():
                (place / name).symlink_to(Path(parent, name).readlink())
        for name in files:
            try:
                link(Path(parent, name), place / name)
            except OSError:  # another file system
                link = os.symlink
                link(Path(parent, name), place / name)
    return target
