"""Heavy libraries that models import, each in an environment of its own: made once, below build/."""

from __future__ import annotations

import fcntl
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "build" / "pythons"
INSTALL_SECONDS = 1200


def python_with(library: str, requirement: str = "") -> Path:
    """A Python like ours that has the library: ours, or one that pip installs it for.

    Skips the test, with what pip said, where that is not possible: the wheels of torch hold gigabytes.
    """
    if importlib.util.find_spec(library) is not None:
        return Path(sys.executable)
    environment = FOLDER / library
    python = environment / "bin" / "python"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{library}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (environment / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
            install = [
                python,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-cache-dir",
                requirement or library,
                "numpy",
            ]
            done = subprocess.run(install, capture_output=True, text=True, timeout=INSTALL_SECONDS)
            if done.returncode != 0:
                pytest.skip(
                    f"pip cannot install {library}: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
                )
            (environment / "ready").touch()
    return python
