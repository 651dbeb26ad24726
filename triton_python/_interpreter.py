"""Names a Python for models to run in, as people name it: a path, a virtual environment, or a command."""

from __future__ import annotations

import os
import shutil

from triton_python._errors import TritonPythonError
from triton_python._paths import absolute_path


def named_interpreter(name: str) -> str:
    """The absolute path of the program, links not followed: they would lead out of a virtual environment.

    Raises:
        TritonPythonError: there is none.
    """
    path = absolute_path(name)
    if path.is_dir():
        path = path / "bin" / "python3"
    elif "/" not in name:
        path = absolute_path(shutil.which(name) or name)
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise TritonPythonError(
            f"--python {name} names no Python: {path} is not an executable file; give the path of a Python, "
            "the folder of a virtual environment, or a command on the PATH"
        )
    return str(path)
