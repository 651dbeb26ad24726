"""A Python that `_core` is to be built for, and the compiler for it: whether they are there and fit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triton_python._errors import TritonPythonError
from triton_python._interpreter import named_interpreter

OLDEST = (3, 9)
ANSWER_SECONDS = 60
# Also for Pythons that are too old, so that the answer is a sentence about that.
QUESTION = """
import json, sys, sysconfig
paths = [sysconfig.get_path(name) for name in ("include", "platinclude")]
paths += [sysconfig.get_config_var("INCLUDEPY")]
print(json.dumps({
    "version": list(sys.version_info[:2]),
    "implementation": getattr(getattr(sys, "implementation", None), "name", "cpython"),
    "suffix": sysconfig.get_config_var("EXT_SUFFIX") or "",
    "include": [path for path in paths if path],
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
}))
"""


@dataclass(frozen=True)
class StubPython:
    """A Python that can have a `_core`."""

    executable: str
    version: str
    suffix: str
    """Of its extension modules, such as `.cpython-312-x86_64-linux-gnu.so`."""

    @staticmethod
    def named(name: str) -> StubPython:
        """The Python of that path, folder or command.

        Raises:
            TritonPythonError: there is none, it is none that models can run in, or its headers are missing.
        """
        executable = named_interpreter(name)
        facts = _ask(executable)
        version = ".".join(map(str, facts["version"]))
        if tuple(facts["version"]) < OLDEST:
            raise TritonPythonError(
                f"{executable} is Python {version}: models need 3.9 or newer, so there is nothing to build "
                "for it; make their environment with a newer Python"
            )
        if facts["implementation"] != "cpython" or facts["free_threaded"]:
            kind = "free-threaded" if facts["free_threaded"] else facts["implementation"]
            raise TritonPythonError(
                f"{executable} is Python {version}, {kind}: models run in ordinary CPython; name such a one"
            )
        folders = list(dict.fromkeys(facts["include"]))
        if not any(Path(folder, "Python.h").is_file() for folder in folders):
            raise TritonPythonError(
                f"{executable} (Python {version}) lacks its C headers, there is no Python.h in "
                f"{' or '.join(folders)}: for a Python of the system install python{version}-dev (Debian, "
                f"Ubuntu) or python{version}-devel (Fedora, RHEL); those of conda, pyenv and uv have them"
            )
        return StubPython(executable, version, facts["suffix"])


def find_compiler() -> str:
    """The C++ compiler that CMake would take.

    Raises:
        TritonPythonError: there is none.
    """
    named = os.environ.get("CXX", "")
    names = [named.split()[0]] if named.split() else ["c++", "g++", "clang++"]
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    lacking = f"CXX is {named!r}, which is no program" if named else "there is no C++ compiler on the PATH"
    raise TritonPythonError(
        f"{lacking}: install g++ 11 or newer (apt install g++, dnf install gcc-c++, or conda install gxx) or "
        "name one with the environment variable CXX"
    )


def _ask(executable: str) -> dict[str, Any]:
    try:
        answer = subprocess.run(
            [executable, "-E", "-s", "-c", QUESTION],
            capture_output=True,
            text=True,
            check=True,
            timeout=ANSWER_SECONDS,
        )
        facts: dict[str, Any] = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise TritonPythonError(
            f"{executable} does not answer as a Python does ({_reason(error)}): name a Python with --python"
        ) from error
    return facts


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"exit status {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer in {ANSWER_SECONDS} s"
    return str(error) if isinstance(error, OSError) else "something else"
