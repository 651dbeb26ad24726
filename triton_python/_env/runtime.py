"""Our own package in a packed environment: a server that has no `_core` for its Python finds one there."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from triton_python._backend_dir import PACKAGE, Installation
from triton_python._env.facts import Environment
from triton_python._env.tree import Tree
from triton_python._errors import TritonPythonError
from triton_python._marker import DISTRIBUTION

CORE = "_core"


def add_runtime(tree: Tree, environment: Environment, packages: str) -> str:
    """Adds the package where `environment` has none of this version; says what was done.

    Args:
        packages: the place of the packages in the archive.

    Raises:
        TritonPythonError: there is no `_core` for that Python.
    """
    ours = version(DISTRIBUTION)
    place = f"{packages}/{PACKAGE}"
    if environment.runtime == ours and tree.holds(f"{place}/{CORE}{environment.ext_suffix}"):
        return f"{PACKAGE} {ours} is the environment's own"
    package = Installation.current().package
    core = find_core(package, environment.ext_suffix)
    if core is None:
        raise TritonPythonError(
            f"there is no compiled module for Python {environment.dotted_version} "
            f"({CORE}{environment.ext_suffix}) in {package}: build it once with `triton-python stub build "
            f"--python {environment.executable}`, and pack again"
        )
    tree.remove(place)
    others = re.compile(rf"{CORE}\..*\.so|([^/]+/)*__pycache__")
    tree.add_folder(package, place, lambda name: bool(others.fullmatch(name)))
    tree.add_file(core, f"{place}/{core.name}")
    instead = f" in place of its {environment.runtime}" if environment.runtime else ""
    return f"{PACKAGE} {ours} was added{instead}"


def find_core(package: Path, ext_suffix: str) -> Path | None:
    """The compiled module for a Python with that suffix: of our installation, or built here."""
    from triton_python_backend_utils.launch.resolve import core_directories

    for folder in (package, *core_directories(None)):
        core = folder / f"{CORE}{ext_suffix}"
        if core.is_file():
            return core
    return None
