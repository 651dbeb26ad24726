"""Wheels from the user's own package index, unpacked once into the folder of the benchmarks."""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from comparison.process import Failed, checked

DOWNLOAD_SECONDS = 600


def unpacked(requirement: str, wanted: Callable[[str], bool], target: Path, log: Path) -> Path:
    """`target`, with the files of the wheel whose names are `wanted`; nothing is fetched a second time.

    Raises:
        Failed: pip could not fetch the wheel.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        folder = Path(scratch) / "wheel"
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
        options = ["--only-binary=:all:", "--progress-bar=off", "--dest", str(folder)]
        checked([*pip, *options, requirement], log, DOWNLOAD_SECONDS)
        wheels = list(folder.glob("*.whl"))
        if len(wheels) != 1:
            raise Failed(f"pip gave {len(wheels)} wheels for {requirement}, expected one")
        contents = Path(scratch) / "contents"
        _unpack(wheels[0], wanted, contents)
        contents.rename(target)
    return target


def install(python: Path, requirement: str, folder: Path, log: Path) -> Path:
    """A virtual environment of `python` in `folder` that holds `requirement`; made once.

    Raises:
        Failed: it could not be made.
    """
    done = folder / f".has-{requirement}"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        checked([python, "-m", "venv", folder], log, DOWNLOAD_SECONDS)
        own = str(folder / "bin" / "python")
        pip = [own, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        checked([*pip, "--only-binary=:all:", requirement], log, DOWNLOAD_SECONDS)
        done.touch()
    return folder / "bin" / "python"


def _unpack(wheel: Path, wanted: Callable[[str], bool], folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(wheel) as content:
        for member in content.infolist():
            if wanted(member.filename) and not member.is_dir():
                path = Path(content.extract(member, folder))
                if (member.external_attr >> 16) & 0o100:
                    path.chmod(0o755)
