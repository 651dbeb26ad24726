"""Has conda-pack gather a conda environment: it knows which files hold the prefix, and how to replace it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from triton_python._env.tree import File, Tree
from triton_python._errors import TritonPythonError
from triton_python._progress import say

# A temporary file of conda-pack 0.9, which forgets it.
_LEFTOVER = re.compile(r"tmp[a-z0-9_]{8}")


def collect_conda(prefix: Path, scratch: Path, ignore_editable: bool, ignore_missing: bool) -> Tree:
    """The files of the conda environment `prefix`, with the program `bin/conda-unpack`.

    Args:
        scratch: a folder on the file system of the environment, so that files need not be copied.

    Raises:
        TritonPythonError: there is no conda-pack, or it refuses.
    """
    folder = scratch / "conda"
    command = [*_conda_pack(prefix), "--prefix", str(prefix), "--output", str(folder)]
    command += ["--format", "no-archive", "--quiet"]
    command += ["--ignore-editable-packages"] if ignore_editable else []
    command += ["--ignore-missing-files"] if ignore_missing else []
    say(f"conda-pack is collecting {prefix}")
    # It keeps files in sets, and writes down in which order they came out.
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    result = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=environ, check=False
    )
    said = _joined(f"{result.stdout}\n{result.stderr}")
    if result.returncode != 0 or not folder.is_dir():
        raise TritonPythonError(
            f"conda-pack refuses to pack {prefix}: {said or 'it does not say why'}{_what_to_do(said)}"
        )
    if said:
        say(f"conda-pack says: {said}")
    tree = Tree()
    tree.add_folder(folder, "", lambda name: bool(_LEFTOVER.fullmatch(name)) and not (prefix / name).exists())
    _restore_times(tree, prefix)
    return tree


def _restore_times(tree: Tree, prefix: Path) -> None:
    """As in the environment: conda-pack writes files anew, and bytecode knows the time of its source."""
    made = int((prefix / "conda-meta").stat().st_mtime)
    for place, entry in tree.ordered():
        if isinstance(entry, File):
            original = prefix / place
            mtime = int(original.stat().st_mtime) if original.is_file() else made
            tree.entries[place] = replace(entry, mtime=mtime)


def _conda_pack(prefix: Path) -> list[str]:
    """Of the Python that runs this, of the environment itself, or on the PATH."""
    if importlib.util.find_spec("conda_pack") is not None:
        return [sys.executable, "-m", "conda_pack.cli"]
    own = prefix / "bin" / "conda-pack"
    program = str(own) if os.access(own, os.X_OK) else shutil.which("conda-pack")
    if program is None:
        raise TritonPythonError(
            f"{prefix} is a conda environment, and there is no conda-pack to pack it: install it "
            "(python -m pip install conda-pack, or 'triton-python-backend[pack]')"
        )
    return [program]


def _what_to_do(said: str) -> str:
    if "editable" in said:
        return "; install them without -e, or leave this check out with --ignore-editable"
    if "deleted/overwritten" in said:
        return "; mend the environment with conda, or leave this check out with --ignore-missing-files"
    return ""


def _joined(text: str) -> str:
    """Paragraphs and lists in one line, without what is for developers of conda-pack."""
    lines = [
        re.sub(r"^.*?conda_pack[^:]*:\d+: \w*Warning: ?", "", line).strip() for line in text.splitlines()
    ]
    joined = " ".join(
        line for line in lines if line and not line.startswith(("warnings.warn", "context.warn"))
    )
    return joined.removeprefix("CondaPackError: ").strip()
