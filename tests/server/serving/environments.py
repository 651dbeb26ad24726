"""Python environments for models, made on the spot."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np

NUMPY_PARENT = Path(np.__file__).parent.parent


def make_venv(folder: Path, python: str | Path = sys.executable, *, copies: bool = False) -> Path:
    """A virtual environment that finds this test's numpy. `copies`: with no link that leads out of it."""
    mode = "--copies" if copies else "--symlinks"
    subprocess.run([python, "-m", "venv", "--without-pip", mode, folder], check=True)
    return see_numpy(folder)


def see_numpy(folder: Path) -> Path:
    """Lets a virtual environment find this test's numpy."""
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "numpy_of_the_test.pth").write_text(f"{NUMPY_PARENT}\n")
    return folder


def pack(folder: Path, archive: Path) -> Path:
    """The content of `folder` as a .tar.gz, without a folder around it."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for entry in sorted(folder.iterdir()):
            tar.add(entry, entry.name)
    return archive


def add_filler(folder: Path, megabytes: int) -> None:
    """Makes an environment take a moment to unpack."""
    with (folder / "filler.bin").open("wb") as file:
        for _ in range(megabytes):
            file.write(bytes(1 << 20))
