"""Puts our backend into a server that is there already, as `backends/python`, and takes it out again.

    <server>/backends/python          ours: library, package, interpreter.txt and the marker of _marker.py
    <server>/backends/python.nvidia   what was there before, as it was

Every step leaves either the old backend or the new one in place. What an interrupted run left behind is known
by its name or its marker, and the next run, of either command, puts it in order first.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from triton_python._backend_dir import OUR_BACKEND, Installation
from triton_python._cache import cache_dir
from triton_python._errors import TritonPythonError
from triton_python._folders import discard, exchange, finish_moving, move, remove
from triton_python._marker import DISTRIBUTION, MARKER, Marker, foreign_files
from triton_python._staging import stage

KEPT = "python.nvidia"
ADDED = "python.added"
_NEW = ".python.triton-python-new"
_OLD = ".python.triton-python-old"


@dataclass(frozen=True)
class InstalledBackend:
    """What `install_backend` has done."""

    folder: Path
    """`<server>/backends/python`."""
    version: str
    replaced: str | None
    """The version of ours that was there before."""
    kept: Path | None
    """Where the backend lies that was there before ours."""
    carried: tuple[str, ...]
    """Files that somebody had added to ours or changed in it, as they are called in the new one."""


@dataclass(frozen=True)
class UninstalledBackend:
    """What `uninstall_backend` has done."""

    folder: Path
    version: str
    restored: bool
    """Whether there is a backend in `folder` again, the one from before."""
    added: Path | None
    """Where the files lie that somebody had added to ours or changed in it."""
    added_files: tuple[str, ...]


def install_backend(place: str | Path, installation: Installation | None = None) -> InstalledBackend:
    """Makes our backend the python backend of the server at `place`; again, to bring it up to date.

    Args:
        place: the server's folder, its `backends` folder, or the tritonserver program.
        installation: what to install; by default, what is installed in the Python that runs this.

    Raises:
        TritonPythonError: there is no server, it cannot be written to, or another backend was kept there
            before. Nothing has changed then.
    """
    installation = installation or Installation.current()
    with _changing(place, "install") as backends:
        folder, kept = backends / OUR_BACKEND, backends / KEPT
        old = Marker.read(folder)
        is_other = old is None and os.path.lexists(folder)
        if is_other and os.path.lexists(kept):
            raise TritonPythonError(
                f"{folder} is not ours, and {kept} is there already: remove the one of them that is not "
                "needed any more"
            )
        has_kept = is_other or os.path.lexists(kept)
        carried = stage(backends / _NEW, installation, KEPT if has_kept else None, folder if old else None)
        if old is not None:
            _replace(backends)
        elif is_other:
            _swap_in(backends)
        else:
            (backends / _NEW).rename(folder)
    return InstalledBackend(
        folder=folder,
        version=version(DISTRIBUTION),
        replaced=old.version if old else None,
        kept=kept if has_kept else None,
        carried=tuple(carried),
    )


def uninstall_backend(place: str | Path) -> UninstalledBackend:
    """Takes our backend out of the server at `place` and puts back the one that was there before.

    Raises:
        TritonPythonError: there is no server, its python backend is not ours, what was kept is gone, or the
            folder cannot be written to. Nothing has changed then.
    """
    with _changing(place, "uninstall") as backends:
        folder, kept = backends / OUR_BACKEND, backends / KEPT
        marker = Marker.read(folder)
        if marker is None:
            raise TritonPythonError(f"{_what_is(folder)}: there is nothing of ours to uninstall")
        if marker.kept and not os.path.lexists(kept):
            raise TritonPythonError(
                f"the backend that was in {folder} before is not in {kept} any more: put it back there, or "
                f"remove {folder} by hand to have no python backend at all"
            )
        ours = backends / _OLD
        if marker.kept and exchange(folder, kept):
            ours = kept
        else:
            move(folder, ours)
            if marker.kept:
                move(kept, folder)
        added, names = _take_apart(ours, marker)
    return UninstalledBackend(folder, marker.version, marker.kept is not None, added, tuple(names))


def backends_folder(place: str | Path) -> Path:
    """The folder of backends of the server that `place` names.

    Raises:
        TritonPythonError: there is none.
    """
    path = Path(place).expanduser().absolute()
    if path.is_file() and path.name == "tritonserver":
        # A link such as /usr/local/bin/tritonserver: the backends lie beside what it points to.
        path = path.resolve().parent.parent
    if (path / "backends").is_dir():
        path = path / "backends"
    elif (path / "bin" / "tritonserver").is_file():
        raise TritonPythonError(
            f"the server in {path} has no folder `backends`: make one, or give the one that its "
            "--backend-directory names"
        )
    elif path.name != "backends" or not path.is_dir():
        raise TritonPythonError(
            f"there is no Triton server in {path}: give the server's folder (such as /opt/tritonserver), its "
            "folder `backends`, or the tritonserver program"
        )
    if path.resolve().is_relative_to((cache_dir() / "backends").resolve()):
        raise TritonPythonError(f"{path} was composed by triton-python: our backend is in it already")
    return path


@contextmanager
def _changing(place: str | Path, command: str) -> Iterator[Path]:
    """The folder of backends, held against other processes and in order; says what an error means."""
    backends = backends_folder(place)
    try:
        handle = os.open(backends, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            _tidy(backends)
            try:
                yield backends
            except BaseException:
                with suppress(OSError):
                    _tidy(backends)
                raise
        finally:
            os.close(handle)
    except OSError as error:
        raise TritonPythonError(_why_not(command, backends, error)) from error


def _tidy(backends: Path) -> None:
    """Puts in order what an interrupted run left behind."""
    finish_moving(backends)
    remove(backends / _NEW)
    folder, old, kept = backends / OUR_BACKEND, backends / _OLD, backends / KEPT
    if old.exists() and not os.path.lexists(folder):
        move(old, folder)
    for leftover in (old, kept):
        marker = Marker.read(leftover)
        if marker is not None:
            _take_apart(leftover, marker)
    if os.path.lexists(kept) and not os.path.lexists(folder):
        move(kept, folder)


def _replace(backends: Path) -> None:
    """Puts the new folder in the place of an older one of ours."""
    folder, new, old = backends / OUR_BACKEND, backends / _NEW, backends / _OLD
    if exchange(new, folder):
        remove(new)
    else:
        move(folder, old)
        new.rename(folder)
        discard(old, new)


def _swap_in(backends: Path) -> None:
    """Puts the new folder in the place of somebody else's, which is kept."""
    folder, new, kept = backends / OUR_BACKEND, backends / _NEW, backends / KEPT
    new.rename(kept)
    if not exchange(kept, folder):
        kept.rename(new)
        move(folder, kept)
        new.rename(folder)


def _take_apart(ours: Path, marker: Marker) -> tuple[Path | None, list[str]]:
    """Removes a folder of ours that is not in use any more, but for what somebody has added to it."""
    target = ours.parent / ADDED
    names = []
    for name in foreign_files(ours, marker):
        free = _free_name(target, name)
        (target / free).parent.mkdir(parents=True, exist_ok=True)
        (ours / name).rename(target / free)
        names.append(free)
    discard(ours, ours.parent / _NEW)
    return (target if names else None), names


def _free_name(folder: Path, name: str) -> str:
    numbered = (f"{name}.{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if not os.path.lexists(folder / one))


def _what_is(folder: Path) -> str:
    if not os.path.lexists(folder):
        return f"there is no {folder}"
    return f"{folder} was not put there by triton-python (it has no {MARKER})"


def _why_not(command: str, backends: Path, error: OSError) -> str:
    if isinstance(error, shutil.Error):  # of copytree: what went wrong with each file, as text
        found = re.search(r"\[Errno (\d+)\]", str(error.args[0]))
        error = OSError(int(found[1]), os.strerror(int(found[1]))) if found else error
    reason = error.strerror or str(error)
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.EACCES, errno.EPERM):
        again = shlex.join([sys.executable, "-m", "triton_python", command, str(backends)])
        return f"cannot change {backends}: {reason}{where}; run it as the folder's owner: sudo {again}"
    if error.errno == errno.EROFS:
        return f"cannot change {backends}: {reason}; it has to be done where the server's image is built"
    return (
        f"could not {command} in {backends}: {reason}{where}; nothing is half done: mend that and try again"
    )
