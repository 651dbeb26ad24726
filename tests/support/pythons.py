"""Other Pythons of this machine, and the wheel that `make wheel` builds for all of them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "pythons"
LIBRARY = "libtriton_python.so"
PACKAGE = "triton_python_backend_utils"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Others of pytest's workers make it, too."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def find_python(version: str) -> Path:
    """`pythonX.Y` on PATH, or of pyenv; skips the test when there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}")),
    ]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return Path(candidate)
    pytest.skip(f"no Python {version} on PATH or in pyenv")


def environment(version: str, numpy: str) -> Path:
    """The interpreter of a virtual environment with that NumPy, and with no link that leads out of it."""
    folder = WORK / f"{version}-{numpy}".replace(">=", "from").replace("==", "is").replace("<", "below")
    python = folder / "bin" / "python"
    with alone_in(folder):
        if not (folder / "ready").exists():
            make = [find_python(version), "-m", "venv", "--clear", "--copies", folder]
            subprocess.run(make, check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", numpy], check=True)
            (folder / "ready").touch()
    return python


def distribution(pattern: str) -> Path:
    """The wheel (`*.whl`) or the sdist (`*.tar.gz`) of `make wheel`."""
    found = list((ROOT / "build" / "dist").glob(pattern))
    assert len(found) == 1, f"found {found} in build/dist: run `make wheel` first, as `make test-more` does"
    return found[0]


def backends_of_the_wheel() -> Path:
    """A folder for --backend-directory with what is in the wheel, for each Python that it was built for."""
    wheel = distribution("*.whl")
    unpacked = WORK / f"wheel-{hashlib.sha256(wheel.read_bytes()).hexdigest()[:16]}"
    backend = unpacked / "backends" / "python"
    with alone_in(unpacked):
        if not backend.exists():
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(unpacked)
            backend.mkdir(parents=True)
            (backend / PACKAGE).symlink_to(unpacked / PACKAGE)
            (backend / LIBRARY).symlink_to(unpacked / "triton_python" / "backends" / "python" / LIBRARY)
    return backend.parent
