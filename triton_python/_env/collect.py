"""Gathers a virtual environment, or a Python that stands alone, into one prefix that needs no other.

The interpreter, its standard library and its own shared libraries come from the base; packages, scripts and
data from the environment. What each of them is at the new place is decided here, and nothing is copied yet.
"""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from triton_python._env.editable import Editables, find_editables
from triton_python._env.facts import BasePython, Environment, look_beneath
from triton_python._env.scripts import ACTIVATE, relocated
from triton_python._env.tree import File, Link, Tree
from triton_python._errors import TritonPythonError

# Their libraries are the machine's. What lies below any other prefix came with the Python.
SYSTEM_PREFIXES = (Path("/"), Path("/usr"))
LONGEST_SCRIPT = 1 << 20
_OF_STDLIB_NOT_NEEDED = re.compile(
    r"(site-packages|dist-packages|test|idlelib|turtledemo|ensurepip/_bundled|[a-z0-9]+/tests?"
    r"|EXTERNALLY-MANAGED|config-[^/]*/[^/]*\.[ao]|([^/]+/)*__pycache__)"
)
_OF_VENV_NOT_NEEDED = re.compile(
    r"(pyvenv\.cfg|lib64|\.gitignore|\.lock|CACHEDIR\.TAG|bin/python[^/]*|bin/pypy[^/]*"
    r"|bin/(activate|Activate|deactivate)[^/]*|([^/]+/)*__pycache__)"
)


@dataclass
class Collected:
    """What is to be packed, and what to know about it."""

    tree: Tree
    base: BasePython
    packages: str
    """The place of the packages in the archive."""
    libraries: list[str] = field(default_factory=list)
    """The places of the shared libraries that came with the interpreter."""
    notes: list[str] = field(default_factory=list)

    @property
    def program(self) -> str:
        return f"bin/{self.base.name}"


def collect(environment: Environment, ignore_editable: bool, scratch: Path) -> Collected:
    """Everything that belongs into the archive of `environment`, which is no conda environment.

    Args:
        scratch: an empty folder for files that have to be made.

    Raises:
        TritonPythonError: it cannot be packed.
    """
    base = look_beneath(environment)
    collected = Collected(Tree(), base, base.site_folders[0])
    _add_interpreter(collected, environment.base_executable)
    folders = _site_folders(environment)
    packed = [environment.prefix] if environment.is_virtual else []
    editables = find_editables(folders, [*packed, *folders, *base.stdlib_folders])
    if not ignore_editable:
        editables.refuse(environment.prefix)
    collected.notes += [f"left out: {phrase}" for phrase in editables.found]
    for number, folder in enumerate(folders):
        _add_packages(collected, environment, folder, editables, scratch / f"pth{number}")
    if environment.is_virtual:
        _add_rest_of_venv(collected, environment, folders, editables)
    else:
        for folder in folders:
            _add_recorded_files(collected, folder, editables)
    _relocate_scripts(collected, environment, scratch / "scripts")
    tree = collected.tree
    for name in ("python3", "python"):
        tree.entries[f"bin/{name}"] = Link(base.name)
    collected.notes += [f"left out: {link}, a link that leads nowhere" for link in tree.dangling]
    return collected


def _add_interpreter(collected: Collected, program: Path) -> None:
    with program.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            raise TritonPythonError(
                f"{program} is a script that starts a Python, and only the Python itself can be packed: give "
                "the path of its python program"
            )
    tree, base = collected.tree, collected.base
    tree.add_file(program, collected.program)
    for folder in base.stdlib_folders:
        place = folder.relative_to(base.prefix).as_posix()
        tree.add_folder(folder, place, lambda name: bool(_OF_STDLIB_NOT_NEEDED.fullmatch(name)))
    for library in base.libraries:
        is_libpython = library.name.startswith("libpython")
        if base.prefix in SYSTEM_PREFIXES or base.prefix not in library.parents:
            if is_libpython:
                _add_library(collected, library, "lib")
        else:
            _add_library(collected, library, library.parent.relative_to(base.prefix).as_posix())


def _add_library(collected: Collected, library: Path, folder: str) -> None:
    """With the links that lie beside it and lead to it: programs ask for it by the name of one of them."""
    collected.tree.add_file(library, f"{folder}/{library.name}")
    collected.libraries.append(f"{folder}/{library.name}")
    for other in sorted(library.parent.glob(f"{library.name.split('.so')[0]}.so*")):
        if other.is_symlink() and other.resolve() == library.resolve():
            collected.tree.entries[f"{folder}/{other.name}"] = Link(library.name)


def _site_folders(environment: Environment) -> list[Path]:
    """Each once, although lib64 may be a link to lib."""
    by_real_path = {folder.resolve(): folder for folder in reversed(environment.site_folders)}
    return [folder for folder in environment.site_folders if by_real_path.get(folder.resolve()) == folder]


def _add_packages(
    collected: Collected, environment: Environment, folder: Path, editables: Editables, scratch: Path
) -> None:
    own = environment.is_virtual and environment.prefix in folder.parents
    if own:
        place = collected.packages
    elif collected.base.prefix in folder.parents:
        place = folder.relative_to(collected.base.prefix).as_posix()
    else:
        collected.notes.append(f"left out: {folder}, which does not lie below {collected.base.prefix}")
        return
    tree = collected.tree
    there = {name[len(place) + 1 :].split("/")[0] for name in tree.entries if name.startswith(place + "/")}
    projects = {_project(name) for name in there if name.endswith(".dist-info")}

    def skip(name: str) -> bool:
        first = name.split("/")[0]
        if name.endswith("__pycache__") or folder / name in editables.files:
            return True
        # What an environment has comes before what it sees of the Python beneath it.
        return first in there or (first.endswith(".dist-info") and _project(first) in projects)

    tree.add_folder(folder, place, skip)
    for pth, text in editables.rewritten.items():
        if pth.parent == folder and f"{place}/{pth.name}" in tree.entries:
            scratch.mkdir(parents=True, exist_ok=True)
            made = scratch / pth.name
            made.write_text(text, "utf-8", errors="surrogateescape")
            tree.entries[f"{place}/{pth.name}"] = File.of(made, mtime=int(pth.stat().st_mtime))


def _project(metadata: str) -> str:
    return re.sub(r"[-_.]+", "-", metadata.removesuffix(".dist-info").rpartition("-")[0]).lower()


def _add_rest_of_venv(
    collected: Collected, environment: Environment, folders: list[Path], editables: Editables
) -> None:
    prefix = environment.prefix
    elsewhere = {folder.resolve() for folder in folders}

    def skip(name: str) -> bool:
        path = prefix / name
        return (
            bool(_OF_VENV_NOT_NEEDED.fullmatch(name))
            or path in editables.files
            or (path.name.endswith("-packages") and path.resolve() in elsewhere)
        )

    collected.tree.add_folder(prefix, "", skip)


def _add_recorded_files(collected: Collected, folder: Path, editables: Editables) -> None:
    """Scripts and data of a Python that stands alone: its other files are nobody's, or the system's."""
    prefix = collected.base.prefix
    for record in sorted(folder.glob("*.dist-info/RECORD")):
        if record in editables.files:
            continue
        with record.open(newline="", encoding="utf-8") as lines:
            for row in csv.reader(lines):
                if not row or not row[0].startswith(".."):
                    continue
                path = Path(os.path.normpath(folder / row[0]))
                if prefix in path.parents and path.is_file() and "__pycache__" not in path.parts:
                    collected.tree.entries.setdefault(path.relative_to(prefix).as_posix(), File.of(path))


def _relocate_scripts(collected: Collected, environment: Environment, scratch: Path) -> None:
    tree = collected.tree
    scratch.mkdir(parents=True)
    prefixes = [environment.prefix, collected.base.prefix, environment.base_prefix]
    folders = [prefix / "bin" for prefix in prefixes]
    folders += [environment.base_executable.parent, *(folder.resolve() for folder in folders)]
    for place, entry in list(tree.entries.items()):
        if not place.startswith("bin/") or not isinstance(entry, File) or entry.size > LONGEST_SCRIPT:
            continue
        script = relocated(entry.source.read_bytes(), folders, collected.base.name)
        if script is not None:
            made = scratch / Path(place).name
            made.write_bytes(script)
            tree.entries[place] = File.of(made, mtime=entry.mtime, executable=True)
    made = scratch / ".activate"
    made.write_text(ACTIVATE)
    program = tree.entries[collected.program]
    assert isinstance(program, File)
    tree.entries["bin/activate"] = File.of(made, mtime=program.mtime, executable=False)
