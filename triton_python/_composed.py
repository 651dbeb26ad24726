"""Folders made of links, in the cache: composed once for what goes in, then reused.

    <cache>/<kind>/<digest>/<name>      a link, a small file, or a copy

The digest names what went in, so two environments never share a folder, and a running server never sees
its folder change.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from triton_python._cache import cache_dir, exclusive, writable_dir


@dataclass(frozen=True)
class Composition:
    """What a folder shall hold, by relative path."""

    links: Mapping[str, Path]
    files: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, Path] = field(default_factory=dict)
    """For who does not follow links. A file that changes makes another composition."""
    salt: str = ""
    """Tells two folders of the same content apart."""

    def digest(self) -> str:
        files = [f"{name}\n{text}" for name, text in sorted(self.files.items())]
        links = [f"{name}\n{target}" for name, target in sorted(self.links.items())]
        copies = [f"{name}\n{_digest(source)}" for name, source in sorted(self.copies.items())]
        return hashlib.sha256("\0".join([self.salt, *files, "", *links, *copies]).encode()).hexdigest()[:16]

    def is_in(self, folder: Path) -> bool:
        """Whether `folder` holds all of it."""
        try:
            if any((folder / name).read_text() != text for name, text in self.files.items()):
                return False
            if any(_digest(folder / name) != _digest(source) for name, source in self.copies.items()):
                return False
            return all((folder / name).readlink() == target for name, target in self.links.items())
        except OSError:
            return False


def composed_folder(kind: str, composition: Composition) -> Path:
    """The folder with that content.

    Raises:
        TritonPythonError: the cache cannot be written.
    """
    parent = cache_dir() / kind
    folder = parent / composition.digest()
    if not composition.is_in(folder):
        with exclusive(parent / ".lock"):
            # Another process may have composed it while this one waited.
            if not composition.is_in(folder):
                _compose(folder, composition)
    return folder


def _compose(folder: Path, composition: Composition) -> None:
    writable_dir(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".composing-") as scratch:
        fresh = Path(scratch) / "new"
        for name, target in composition.links.items():
            _place(fresh, name).symlink_to(target)
        for name, text in composition.files.items():
            _place(fresh, name).write_text(text)
        for name, source in composition.copies.items():
            shutil.copy(source, _place(fresh, name))
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.exists():
            # Somebody changed it by hand: moved aside whole, so that it is never seen half removed.
            shutil.move(str(folder), str(Path(scratch) / "old"))
        fresh.rename(folder)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _place(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
