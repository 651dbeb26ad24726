"""Runs in an unpacked environment, with nothing else around: `env -i <python> -I -B <this file>`.

Imports what every model needs, and says what of the process does not come from the environment itself.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

MARK = "triton-python-verify "
RUNTIME = "triton_python_backend_utils"
NEEDED = ("numpy", RUNTIME)
# Of the standard library, those that need libraries of the machine.
WITH_LIBRARIES = ("zlib", "bz2", "lzma", "ctypes", "ssl", "sqlite3", "hashlib", "pyexpat", "uuid")


def main() -> None:
    problems = {name: problem_of(name) for name in NEEDED}
    if not problems[RUNTIME] and not hasattr(sys.modules[RUNTIME], "Tensor"):
        problems[RUNTIME] = "its compiled module was not found"
    for name in WITH_LIBRARIES:
        problem_of(name)
    maps = Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines()
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    told = {
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "runtime": str(getattr(sys.modules.get(RUNTIME), "__version__", "")),
        "failed": [f"it cannot import {name}: {problem}" for name, problem in problems.items() if problem],
        "modules": outside(file for file in files if file not in ("", __file__)),
        "path": outside(sys.path),
        "mapped": outside(line.split(None, 5)[5] for line in maps if " /" in line),
    }
    sys.stdout.write("\n" + MARK + json.dumps(told) + "\n")


def problem_of(name: str) -> str:
    try:
        importlib.import_module(name)
    except BaseException as error:  # what was built for another libc raises more than ImportError
        lines = [line for line in str(error).splitlines() if line.strip()]
        return lines[0].strip() if lines else type(error).__name__
    return ""


def outside(paths: Iterable[str]) -> list[str]:
    inside = os.path.realpath(sys.prefix) + os.sep
    return sorted({path for path in paths if not os.path.realpath(path).startswith(inside)})


if __name__ == "__main__":
    main()
