"""Runs in the Python to be packed, and in the one beneath it: `python -I <this file> environment|base`.

Standard library only, and nothing newer than the oldest Python that may be asked. One marked line of JSON at
the end, for what an environment's .pth files print comes before.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import site
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

MARK = "triton-python-probe "
# In the answer, where a Python of this kind looks for packages below whatever prefix it has.
PREFIX = "/PREFIX"
RUNTIME = "triton_python_backend_utils"


def main() -> None:
    told = base() if sys.argv[1] == "base" else environment()
    sys.stdout.write("\n" + MARK + json.dumps(told) + "\n")


def environment() -> dict[str, object]:
    """What this environment is, which packages of interest it has, and where they lie."""
    numpy, numpy_error = imported("numpy")
    runtime, runtime_error = imported(RUNTIME)
    if runtime and not hasattr(sys.modules[RUNTIME], "Tensor"):
        runtime, runtime_error = "", "it has no compiled module for this Python"
    return {
        "implementation": sys.implementation.name,
        "version": list(sys.version_info[:3]),
        "executable": sys.executable,
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "base_executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
        "ext_suffix": sysconfig.get_config_var("EXT_SUFFIX"),
        "site_folders": [folder for folder in site.getsitepackages() if Path(folder).is_dir()],
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine(),
        "numpy": numpy,
        "numpy_error": numpy_error,
        "runtime": runtime,
        "runtime_error": runtime_error,
    }


def base() -> dict[str, object]:
    """What the interpreter itself consists of, wherever its packages lie."""
    stdlib, platstdlib = sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")
    load_compiled_modules(Path(platstdlib, "lib-dynload"))
    return {
        "prefix": sys.prefix,
        "name": "python{}.{}{}".format(*sys.version_info[:2], getattr(sys, "abiflags", "")),
        "stdlib_folders": sorted({stdlib, platstdlib}),
        "site_folders": site.getsitepackages([PREFIX]),
        "libraries": sorted(mapped_libraries() - {os.path.realpath(sys.executable)}),
    }


def load_compiled_modules(folder: Path) -> None:
    """So that the libraries of the standard library show among those that are mapped."""
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        module = file.name.split(".")[0]
        if not module.startswith(("_test", "xx", "_xx")):
            with suppress(Exception):  # one that does not load here is not missed there
                importlib.import_module(module)


def mapped_libraries() -> set[str]:
    lines = Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines()
    paths = {line.split(None, 5)[5] for line in lines if " /" in line}
    return {path for path in paths if ".so" in Path(path).name and "/lib-dynload/" not in path}


def imported(name: str) -> tuple[str, str]:
    """Its version, or why there is none."""
    try:
        return str(importlib.import_module(name).__version__), ""
    except BaseException as error:  # what was built for another Python or libc raises more than ImportError
        lines = [line for line in str(error).splitlines() if line.strip()]
        return "", (lines[0].strip() if lines else type(error).__name__)


if __name__ == "__main__":
    main()
