"""The content of an archive, before it is written: which file goes where, and which link leads to what."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Union


@dataclass(frozen=True)
class File:
    """A file as it lies on this machine, or one that was made for the archive."""

    source: Path
    size: int
    mtime: int
    executable: bool

    @staticmethod
    def of(source: Path, mtime: int | None = None, executable: bool | None = None) -> File:
        status = source.stat()
        if executable is None:
            executable = bool(status.st_mode & 0o111)
        return File(source, status.st_size, int(status.st_mtime) if mtime is None else mtime, executable)


@dataclass(frozen=True)
class Link:
    """A symbolic link; it stays inside the archive."""

    target: str


Entry = Union[File, Link]
# Given the path below the folder that is added; what it says yes to is not packed.
Skip = Callable[[str], bool]
_MOST_LINKS = 40  # as the kernel has it


@dataclass
class Tree:
    """Entries by their path in the archive, with forward slashes and without a leading one."""

    entries: dict[str, Entry] = field(default_factory=dict)
    dangling: list[Path] = field(default_factory=list)
    """Links that led nowhere."""

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries.values() if isinstance(entry, File))

    def ordered(self) -> Iterator[tuple[str, Entry]]:
        yield from sorted(self.entries.items())

    def add_file(self, source: Path, place: str) -> None:
        self.entries[place] = File.of(source)

    def add_folder(self, source: Path, place: str, skip: Skip = lambda name: False) -> None:
        """All of `source`. Links within it stay links; those that lead out become what they lead to."""
        self._add(source, source, "", place, skip, (source.resolve(),))

    def remove(self, place: str) -> None:
        """What lies at `place`, a file or a folder."""
        below = place + "/"
        for name in [name for name in self.entries if name == place or name.startswith(below)]:
            del self.entries[name]

    def holds(self, place: str) -> bool:
        below = place + "/"
        return place in self.entries or any(name.startswith(below) for name in self.entries)

    def drop_broken_links(self) -> None:
        """Forgets links to what was not packed, so that nobody finds them leading nowhere."""
        while True:
            places = {"."}.union(*(_with_parents(name) for name in self.entries))
            broken = [
                name
                for name, entry in self.entries.items()
                if isinstance(entry, Link) and self._end(name) not in places
            ]
            if not broken:
                return
            for name in broken:
                del self.entries[name]

    def _end(self, place: str) -> str:
        """Where `place` leads, all links on the way followed; some place that does not exist for a circle."""
        for _ in range(_MOST_LINKS):
            link = next(
                (name for name in _with_parents(place) if isinstance(self.entries.get(name), Link)), ""
            )
            if not link:
                return place
            entry = self.entries[link]
            assert isinstance(entry, Link)
            place = normpath(join(dirname(link), entry.target) + place[len(link) :])
        return ""

    def _add(
        self, root: Path, folder: Path, below: str, place: str, skip: Skip, inside: tuple[Path, ...]
    ) -> None:
        with os.scandir(folder) as listing:
            found = sorted(listing, key=lambda entry: entry.name)
        for entry in found:
            name = f"{below}/{entry.name}" if below else entry.name
            if skip(name):
                continue
            path, target = Path(entry.path), f"{place}/{name}" if place else name
            if entry.is_symlink():
                self._add_link(root, path, name, target, place, skip, inside)
            elif entry.is_dir():
                self._add(root, path, name, place, skip, inside)
            elif entry.is_file():
                self.entries[target] = File.of(path)
            # Sockets, pipes and devices are no part of an environment.

    def _add_link(
        self, root: Path, path: Path, name: str, target: str, place: str, skip: Skip, inside: tuple[Path, ...]
    ) -> None:
        try:
            leads_to, kind = path.resolve(strict=True), path.stat().st_mode
        except (OSError, RuntimeError):  # nowhere, or in a circle
            self.dangling.append(path)
            return
        lexical = Path(os.path.normpath(path.parent / path.readlink()))
        if root in lexical.parents:
            self.entries[target] = Link(relpath(str(lexical), str(path.parent)))
        elif stat.S_ISREG(kind):
            self.entries[target] = File.of(path)
        elif stat.S_ISDIR(kind) and leads_to not in inside:
            self._add(root, path, name, place, skip, (*inside, leads_to))


def _with_parents(place: str) -> list[str]:
    """`a`, `a/b` and `a/b/c` for `a/b/c`."""
    parts = place.split("/")
    return ["/".join(parts[: index + 1]) for index in range(len(parts))]
