"""The file by which a backend folder is known as ours, and what it says about the folder's content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

MARKER = "triton-python.json"
DISTRIBUTION = "triton-python-backend"
_FORMAT = 1


@dataclass(frozen=True)
class Marker:
    """Written last into a folder that `triton-python install` makes."""

    version: str
    """Of this distribution."""
    installed: str
    """When, in UTC, as ISO 8601."""
    interpreter: str
    """The Python that runs models by default."""
    kept: str | None
    """The name, beside the folder, of the backend that was there before."""
    files: dict[str, str]
    """The files that were installed, by relative path, with their SHA-256; without this one and bytecode."""

    def write(self, folder: Path) -> None:
        content = {"distribution": DISTRIBUTION, "format": _FORMAT, **asdict(self)}
        (folder / MARKER).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")

    @staticmethod
    def read(folder: Path) -> Marker | None:
        """That of a folder of ours; None for every other one."""
        if folder.is_symlink():
            return None
        try:
            content = json.loads((folder / MARKER).read_text())
            if content["distribution"] != DISTRIBUTION or content["format"] != _FORMAT:
                return None
            return Marker(
                version=str(content["version"]),
                installed=str(content["installed"]),
                interpreter=str(content["interpreter"]),
                kept=None if content["kept"] is None else str(content["kept"]),
                files={str(name): str(digest) for name, digest in content["files"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def digest(file: Path) -> str:
    """The SHA-256 of a file; of where it points, for a link."""
    if file.is_symlink():
        return hashlib.sha256(os.fsencode(file.readlink())).hexdigest()
    result = hashlib.sha256()
    with file.open("rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            result.update(chunk)
    return result.hexdigest()


def files_of(folder: Path) -> Iterator[str]:
    """The relative paths of all files and links in a folder, without the bytecode of sources."""
    for parent, folders, files in os.walk(folder):
        if Path(parent).name == "__pycache__":
            files = [name for name in files if not name.endswith(".pyc")]
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in (*files, *links):
            yield str(Path(parent, name).relative_to(folder))


def foreign_files(folder: Path, marker: Marker) -> list[str]:
    """What is not as we installed it: added by somebody, or changed."""
    return sorted(
        name
        for name in files_of(folder)
        if name != MARKER and marker.files.get(name) != digest(folder / name)
    )


def broken_files(folder: Path, marker: Marker) -> list[str]:
    """What we installed and is not there any more, or not as it was."""
    return sorted(
        name
        for name, expected in marker.files.items()
        if not (folder / name).is_file() or digest(folder / name) != expected
    )
