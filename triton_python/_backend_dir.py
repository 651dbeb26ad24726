"""Composes the folder for `--backend-directory`: our python backend and links to the server's other backends.

    <cache>/backends/<digest>/python/libtriton_python.so            -> the installed library
    <cache>/backends/<digest>/python/triton_python_backend_utils    -> the installed package
    <cache>/backends/<digest>/python/interpreter.txt                the Python that runs models by default
    <cache>/backends/<digest>/<other>                               -> the server's own backend

The digest names what went in, so two environments or two servers never share a folder, and a running
server never sees its folder change.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from triton_python._cache import cache_dir, exclusive, writable_dir
from triton_python._errors import TritonPythonError
from triton_python._server import TritonServer

OUR_BACKEND = "python"
LIBRARY = "libtriton_python.so"
PACKAGE = "triton_python_backend_utils"
INTERPRETER_FILE = "interpreter.txt"


@dataclass(frozen=True)
class Installation:
    """What this distribution put into a Python environment."""

    library: Path
    package: Path
    interpreter: str
    """`sys.executable` as it is: resolving its links would lead out of a virtual environment."""

    @staticmethod
    def current() -> Installation:
        """The installation that runs this code.

        Raises:
            TritonPythonError: a part of it is missing.
        """
        library = Path(__file__).parent / "backends" / OUR_BACKEND / LIBRARY
        if not library.is_file():
            raise TritonPythonError(_not_complete(f"{library} is missing"))
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise TritonPythonError(_not_complete(f"the package {PACKAGE} is missing"))
        if not sys.executable:
            raise TritonPythonError("this Python does not know its own path; run triton-python from a shell")
        return Installation(library, Path(next(iter(spec.submodule_search_locations))), sys.executable)


def backend_directory(server: TritonServer | None, installation: Installation | None = None) -> Path:
    """The folder for the server's `--backend-directory`; composed on first use, then reused.

    Raises:
        TritonPythonError: the installation is not complete, or the cache cannot be written.
    """
    installation = installation or Installation.current()
    links = _links(installation, _other_backends(server))
    root = str(server.root) if server else ""
    parent = cache_dir() / "backends"
    folder = parent / _digest(links, installation.interpreter, root)
    if not _is_right(folder, links, installation.interpreter):
        with exclusive(parent / ".lock"):
            if not _is_right(folder, links, installation.interpreter):
                _compose(folder, links, installation.interpreter)
    return folder


def _links(installation: Installation, others: dict[str, Path]) -> dict[str, Path]:
    """Relative path in the composed folder -> what it points to."""
    return {
        f"{OUR_BACKEND}/{LIBRARY}": installation.library,
        f"{OUR_BACKEND}/{PACKAGE}": installation.package,
        **others,
    }


def _other_backends(server: TritonServer | None) -> dict[str, Path]:
    if server is None or not server.backends_dir.is_dir():
        return {}
    folders = sorted(entry for entry in server.backends_dir.iterdir() if entry.is_dir())
    return {folder.name: folder for folder in folders if folder.name != OUR_BACKEND}


def _digest(links: dict[str, Path], interpreter: str, server_root: str) -> str:
    parts = [interpreter, server_root, *(f"{name}\n{target}" for name, target in sorted(links.items()))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _is_right(folder: Path, links: dict[str, Path], interpreter: str) -> bool:
    try:
        if (folder / OUR_BACKEND / INTERPRETER_FILE).read_text() != f"{interpreter}\n":
            return False
        return all((folder / name).readlink() == target for name, target in links.items())
    except OSError:
        return False


def _compose(folder: Path, links: dict[str, Path], interpreter: str) -> None:
    writable_dir(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".composing-") as scratch:
        fresh = Path(scratch) / "new"
        (fresh / OUR_BACKEND).mkdir(parents=True)
        for name, target in links.items():
            (fresh / name).symlink_to(target)
        (fresh / OUR_BACKEND / INTERPRETER_FILE).write_text(f"{interpreter}\n")
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.exists():
            # Somebody changed it by hand: moved aside whole, so that it is never seen half removed.
            shutil.move(str(folder), str(Path(scratch) / "old"))
        fresh.rename(folder)


def _not_complete(what: str) -> str:
    return f"this installation of triton-python-backend is not complete ({what}): install it again with pip"
