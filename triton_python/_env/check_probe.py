"""Runs as a model's process would, in its Python and with its variables: `python -B <this file> QUESTION`.

QUESTION is JSON: `cores`, folders to look for our compiled module in; `imports`, names of modules; `path`,
the folders of the model. Standard library only. Each thing is said as soon as it is known, one marked line of
JSON each, for what is tried may end the process.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import platform
import re
import sys
import sysconfig
from contextlib import suppress
from importlib import metadata
from pathlib import Path

MARK = "triton-python-check "
CORE = "triton_python_backend_utils._core"
LIBSTDCXX = "libstdc++.so.6"


def main() -> None:
    question = json.loads(sys.argv[1])
    del sys.path[0]  # the folder of this file
    tell(
        executable=sys.executable,
        prefix=sys.prefix,
        version=list(sys.version_info[:3]),
        ext_suffix=sysconfig.get_config_var("EXT_SUFFIX"),
        libc=" ".join(platform.libc_ver()),
        machine=platform.machine(),
    )
    look_at_numpy()
    look_at_core(question["cores"])
    look_at_libstdcxx()
    look_at_imports(question["imports"], question["path"])


def look_at_numpy() -> None:
    try:
        import numpy
    except BaseException as error:  # a numpy built for another Python or libc raises more than ImportError
        tell(numpy="", numpy_error=first_line(error))
    else:
        tell(numpy=numpy.__version__, numpy_error="")


def look_at_core(folders: list[str]) -> None:
    own = [os.path.join(folder, CORE.split(".")[0]) for folder in sys.path]  # noqa: PTH118 - as sys.path has it
    for folder in [*folders, *own]:
        spec = importlib.machinery.PathFinder.find_spec(CORE, [folder])
        if spec is None or spec.loader is None or not str(spec.origin).endswith(".so"):
            continue
        tell(core_path=spec.origin)
        try:
            core = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(core)
        except BaseException as error:
            tell(core="", core_error=first_line(error))
        else:
            tell(core=str(core.__version__), core_error="")
        return
    tell(core="", core_path="", core_error="there is none for this Python")


def look_at_libstdcxx() -> None:
    """Whichever the loader gives: the one that is loaded already, or the one that packages would get."""
    with suppress(Exception):
        import ctypes

        ctypes.CDLL(LIBSTDCXX)
    maps = Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines()
    paths = [line.split(None, 5)[5] for line in maps if " /" in line and "libstdc++.so" in line]
    versions = []
    if paths:
        found = set(re.findall(rb"GLIBCXX_(3\.4\.\d+)\0", Path(paths[0]).read_bytes()))
        versions = sorted((name.decode() for name in found), key=lambda name: int(name.split(".")[2]))
    tell(libstdcxx=paths[0] if paths else "", glibcxx=versions[-1] if versions else "")


def look_at_imports(names: list[str], path: list[str]) -> None:
    sys.path.extend(path)
    installed = set()
    missing = []
    for name in names:
        try:
            spec = None if name in sys.builtin_module_names else importlib.util.find_spec(name)
            found = spec is not None or name in sys.builtin_module_names
        except (ImportError, ValueError):  # ValueError: loaded, and without a spec
            spec, found = None, name in sys.modules
        if not found:
            missing.append(name)
        elif spec is not None and is_of_a_package(spec, path):
            installed.add(name)
    versions = versions_of(installed) if installed else {}
    tell(missing=missing, versions={name: versions.get(name, "") for name in installed})


def is_of_a_package(spec: importlib.machinery.ModuleSpec, path: list[str]) -> bool:
    """Whether somebody installed it: it is neither the model's own nor of the standard library."""
    places = list(spec.submodule_search_locations or []) or [str(spec.origin)]
    if any(place.startswith(tuple(folder + os.sep for folder in path)) for place in places):
        return False
    return any(f"-packages{os.sep}" in place for place in places)


def versions_of(wanted: set[str]) -> dict[str, str]:
    """The versions of what is installed, by the names that it is imported under."""
    found: dict[str, str] = {}
    for one in metadata.distributions():
        names = set((one.read_text("top_level.txt") or "").split())
        if not names:  # not `one.files`, which looks for every single one of them
            lines = (one.read_text("RECORD") or "").splitlines()
            names = {re.split("[/,]", line, maxsplit=1)[0].split(".")[0] for line in lines}
        for name in wanted & names - set(found):
            found[name] = one.version
    return found


def tell(**found: object) -> None:
    sys.stdout.write("\n" + MARK + json.dumps(found) + "\n")
    sys.stdout.flush()


def first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[0].strip() if lines else "") or type(error).__name__


if __name__ == "__main__":
    main()
