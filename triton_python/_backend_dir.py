"""Composes the folder for `--backend-directory`: our python backend and links to the server's other backends.

<cache>/backends/<digest>/python/libtriton_python.so            a copy of the installed library
<cache>/backends/<digest>/python/triton_python_backend_utils    -> the installed package
<cache>/backends/<digest>/python/interpreter.txt                the Python that runs models by default
<cache>/backends/<digest>/<other>                               -> the server's own backend
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

from triton_python._composed import Composition, composed_folder
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
    package = {f"{OUR_BACKEND}/{PACKAGE}": installation.package}
    interpreter = {f"{OUR_BACKEND}/{INTERPRETER_FILE}": f"{installation.interpreter}\n"}
    return composed_folder(
        "backends",
        Composition(
            links={**package, **_other_backends(server)},
            files=interpreter,
            # For python-based backends core refuses a library that a link takes out of the folder.
            copies={f"{OUR_BACKEND}/{LIBRARY}": installation.library},
            salt=str(server.root) if server else "",
        ),
    )


def _other_backends(server: TritonServer | None) -> dict[str, Path]:
    if server is None or not server.backends_dir.is_dir():
        return {}
    folders = sorted(entry for entry in server.backends_dir.iterdir() if entry.is_dir())
    return {folder.name: folder for folder in folders if folder.name != OUR_BACKEND}


def _not_complete(what: str) -> str:
    return f"this installation of triton-python-backend is not complete ({what}): install it again with pip"
