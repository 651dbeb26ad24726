"""What an environment uses without having it: editable installs, and .pth files that lead out of it."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from triton_python._errors import TritonPythonError

EDITABLE_HELP = (
    "install what they stand for instead of linking to it (pip install DIR without -e; "
    "uv sync --no-editable), or leave them out with --ignore-editable"
)


@dataclass
class Editables:
    """What leads out of the environment."""

    found: list[str] = field(default_factory=list)
    """One phrase for each, for people."""
    files: set[Path] = field(default_factory=set)
    """What belongs to these installs in site-packages, and is left out with them."""
    rewritten: dict[Path, str] = field(default_factory=dict)
    """.pth files, as they have to be in the archive."""

    def refuse(self, prefix: Path) -> None:
        """Raises TritonPythonError if there are any."""
        if self.found:
            raise TritonPythonError(
                f"{prefix} cannot be packed, because parts of it lie elsewhere: {'; '.join(self.found)}. "
                f"{EDITABLE_HELP[0].upper()}{EDITABLE_HELP[1:]}"
            )


def find_editables(site_folders: list[Path], packed_folders: list[Path]) -> Editables:
    """What in `site_folders` leads out of `packed_folders`, all of which are packed."""
    result = Editables()
    packed = [folder.resolve() for folder in packed_folders]
    for folder in site_folders:
        for metadata in sorted(folder.glob("*.dist-info")):
            _look_at_distribution(metadata, packed, result)
        for pth in sorted(folder.glob("*.pth")):
            if pth not in result.files:
                _look_at_pth(pth, packed, result)
        result.files.update(folder.glob("*.egg-link"))
    return result


def _look_at_distribution(metadata: Path, packed: list[Path], result: Editables) -> None:
    try:
        content = json.loads((metadata / "direct_url.json").read_text("utf-8"))
        is_editable = content["dir_info"]["editable"]
        source = Path(unquote(urlsplit(content["url"]).path))
    except (OSError, ValueError, LookupError, TypeError):
        return
    if not is_editable or _inside(source, packed):
        return
    name = metadata.name.removesuffix(".dist-info").rpartition("-")[0]
    result.found.append(f"{name} is an editable install of {source}")
    result.files.add(metadata)
    with (metadata / "RECORD").open(newline="", encoding="utf-8") as record:
        for row in csv.reader(record):
            if row:
                result.files.add(Path(os.path.normpath(metadata.parent / row[0])))


def _look_at_pth(pth: Path, packed: list[Path], result: Editables) -> None:
    """As `site` reads it: a line is a folder, beside the file or absolute, or code after an import."""
    lines = pth.read_text("utf-8", errors="surrogateescape").splitlines()
    kept: list[str] = []
    for line in lines:
        if not line.strip() or line.startswith(("#", "import ", "import\t")):
            kept.append(line)
            continue
        folder = Path(os.path.normpath(pth.parent / line.rstrip()))
        if not folder.exists():
            continue  # site passes it over, too
        if _inside(folder, packed):
            kept.append(os.path.relpath(folder, pth.parent))
        else:
            result.found.append(f"{pth} leads to {folder}")
    if kept != lines:
        result.rewritten[pth] = "".join(f"{line}\n" for line in kept)


def _inside(path: Path, packed: list[Path]) -> bool:
    real = path.resolve()
    return any(folder == real or folder in real.parents for folder in packed)
