"""Makes the folder that is to become a server's `backends/python`, beside it and under another name."""

from __future__ import annotations

import compileall
import os
import shutil
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from triton_python._backend_dir import INTERPRETER_FILE, LIBRARY, OUR_BACKEND, PACKAGE, Installation
from triton_python._errors import TritonPythonError
from triton_python._marker import DISTRIBUTION, Marker, digest, files_of, foreign_files
from triton_python._stub_script import STUB_SCRIPT, stub_script


def stage(new: Path, installation: Installation, kept: str | None, old: Path | None) -> list[str]:
    """Makes the folder `new`; returns what it has taken over from `old`, a folder of ours.

    Args:
        kept: for the marker, the name of the backend that was there before.

    Raises:
        TritonPythonError: the installation is not complete.
        OSError: the folder cannot be written.
    """
    if not list(installation.package.glob("_core*.so")):
        raise TritonPythonError(
            f"{installation.package} holds no compiled module, so nothing could run models: install "
            "triton-python-backend again with pip"
        )
    package = new / PACKAGE
    shutil.copytree(installation.package, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(installation.library, new / LIBRARY)
    (new / INTERPRETER_FILE).write_text(f"{installation.interpreter}\n")
    # Where NVIDIA's backend has its stub, people look for one to copy into a model's folder.
    (new / STUB_SCRIPT).write_text(stub_script(installation.interpreter))
    (new / STUB_SCRIPT).chmod(0o755)
    files = {name: digest(new / name) for name in files_of(new)}
    # The processes of models write no bytecode, so it is made here.
    compileall.compile_dir(str(package), ddir=str(new.parent / OUR_BACKEND / PACKAGE), quiet=2)
    carried = _carry_over(old, new) if old else []
    Marker(
        version=version(DISTRIBUTION),
        installed=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        interpreter=installation.interpreter,
        kept=kept,
        files=files,
    ).write(new)
    _make_readable(new)
    return carried


def _carry_over(old: Path, new: Path) -> list[str]:
    marker = Marker.read(old)
    assert marker is not None
    carried = []
    for name in foreign_files(old, marker):
        target = name
        while os.path.lexists(new / target):
            target += ".changed"  # one of ours that was changed lies beside the new one, which is used
        (new / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(old / name, new / target, follow_symlinks=False)
        carried.append(target)
    return carried


def _make_readable(folder: Path) -> None:
    """For everybody, as in a server's own folders, whatever the umask is: servers run as other users."""
    for parent, _, files in os.walk(folder):
        Path(parent).chmod(0o755)
        for name in files:
            file = Path(parent, name)
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
