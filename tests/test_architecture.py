"""The rooms of the repository and the doors between them: what each may include or import."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FILE = 500
BACKEND_LIBRARY = "triton_python/backends/python/libtriton_python.so"


@dataclass(frozen=True)
class Room:
    """A folder, and the kinds of things that its files may name beside the folder's own."""

    folder: str
    may_use: frozenset[str]


CXX_ROOMS = [
    Room("triton_c_api", frozenset({"standard", "loader"})),
    Room("ipc", frozenset({"standard", "system"})),
    Room("backend", frozenset({"standard", "system", "loader", "ipc", "triton_c_api"})),
    Room("stub", frozenset({"standard", "system", "loader", "ipc", "python"})),
    Room("benchmarks", frozenset({"standard", "system", "loader", "triton_c_api"})),
]
# A folder inside another comes first: its own row counts.
PYTHON_ROOMS = [
    Room("triton_python_backend_utils/launch", frozenset({"standard", "decompressors"})),
    Room("triton_python_backend_utils", frozenset({"standard", "numpy"})),
    Room("triton_python", frozenset({"standard", "numpy", "third party", "public"})),
    Room("examples", frozenset({"standard", "numpy", "third party", "public"})),
    Room("benchmarks", frozenset({"standard", "numpy", "third party", "public"})),
]
PACKAGES = {"triton_python", "triton_python_backend_utils", "tritonserver"}
# Any of them unpacks zstd, where it is there: the first is part of Python from 3.14 on.
DECOMPRESSORS = {"compression.zstd", "backports.zstd", "zstandard"}
# Folders that look like packages from the repository's root. Nothing may import them.
FOLDERS = {"tests", "benchmarks", "examples", "scripts", "backend", "stub", "ipc", "triton_c_api"}

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"][^>"]+[>"]|.*)', re.MULTILINE)
STANDARD_HEADER = re.compile(
    r"[a-z_0-9]+|(assert|complex|ctype|errno|fenv|float|inttypes|iso646|limits|locale|math|setjmp|signal|stdalign|"
    r"stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|tgmath|threads|time|uchar|wchar|wctype)\.h"
)
SYSTEM_HEADER = re.compile(
    r"(sys|linux|asm|arpa|net|netinet)/.*|(cxxabi|dirent|emmintrin|fcntl|grp|malloc|netdb|poll|pthread|pwd|sched|semaphore|spawn|strings|"
    r"syscall|termios|ucontext|unistd)\.h"
)
PYTHON_HEADER = re.compile(r"(Python|structmember|frameobject)\.h|(pybind11|numpy|cpython)/.*")


def header_kind(header: str) -> str:
    """What a header is part of: a room, or one of the kinds in the table above; else the header itself."""
    first = header.split("/")[0]
    if any(first == room.folder for room in CXX_ROOMS) and ".." not in header:
        return first
    if PYTHON_HEADER.fullmatch(header):
        return "python"
    if header in {"dlfcn.h", "link.h"}:
        return "loader"
    if SYSTEM_HEADER.fullmatch(header):
        return "system"
    return "standard" if STANDARD_HEADER.fullmatch(header) else header


def standard_modules() -> set[str]:
    if sys.version_info >= (3, 10):
        return set(sys.stdlib_module_names)
    paths = [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("platstdlib")) / "lib-dynload"]
    found = {entry.name.split(".")[0] for path in paths if path.is_dir() for entry in path.iterdir()}
    return found | set(sys.builtin_module_names)


STANDARD_MODULES = standard_modules()


def module_kind(module: str, own_package: str) -> str:
    """What a module is part of: "own", or one of the kinds in the table above; else the module itself."""
    first, *rest = module.split(".")
    if first == own_package:
        return "own"
    if first in PACKAGES:
        is_private = any(part.startswith("_") and not part.startswith("__") for part in rest)
        return module if is_private else "public"
    if first in FOLDERS:
        return module
    if module in DECOMPRESSORS:
        return "decompressors"
    if first in STANDARD_MODULES:
        return "standard"
    return "numpy" if first == "numpy" else "third party"


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Every module that a file names, as `package.module` or `package.module.name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            start = ".".join(parents[: len(parents) - node.level + 1]) + "." if node.level else ""
            module = f"{start}{node.module or ''}".strip(".")
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = ast.unparse(node.func).split(".")[-1]
            if function in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield node.args[0].value


def cxx_violations(root: Path, path: Path) -> list[str]:
    name = path.relative_to(root).as_posix()
    room = next(room for room in CXX_ROOMS if name.startswith(room.folder + "/"))
    allowed = room.may_use | {room.folder}
    headers = [included.strip('<>"') for included in INCLUDE.findall(path.read_text())]
    return [f"{name} must not include {header}" for header in headers if header_kind(header) not in allowed]


def python_violations(root: Path, path: Path) -> list[str]:
    name = path.relative_to(root).as_posix()
    room = next(room for room in PYTHON_ROOMS if name.startswith(room.folder + "/"))
    package = ".".join(path.relative_to(root).parent.parts)
    allowed = room.may_use | {"own"}
    if path.suffix == ".pyi":  # read by type checkers alone, which bring it
        allowed |= {"typing_extensions"}
    own_package = package.split(".")[0] if room.folder != "examples" else ""

    def is_allowed(module: str) -> bool:
        return module_kind(module, own_package) in allowed or module.split(".")[0] in allowed

    found = {module for module in imports(ast.parse(path.read_text()), package) if not is_allowed(module)}
    return [f"{name} must not import {module}" for module in sorted(found)]


def room_files(root: Path, rooms: list[Room], suffixes: set[str]) -> list[Path]:
    folders = {room.folder for room in rooms}
    files = {path for folder in folders for path in (root / folder).rglob("*") if path.suffix in suffixes}
    return sorted(files)


def cxx_files(root: Path) -> list[Path]:
    return room_files(root, CXX_ROOMS, {".h", ".cc", ".inc"})


def python_files(root: Path) -> list[Path]:
    return room_files(root, PYTHON_ROOMS, {".py", ".pyi"})


def violations(root: Path) -> list[str]:
    """Everything in the rooms under `root` that goes through no door."""
    cxx = [found for path in cxx_files(root) for found in cxx_violations(root, path)]
    return cxx + [found for path in python_files(root) for found in python_violations(root, path)]


def too_long(root: Path) -> list[str]:
    """Source files, wherever they lie, that ought to be two."""
    found = []
    for parent, folders, files in os.walk(root):
        folder = Path(parent)
        folders[:] = [
            name
            for name in folders
            if name not in {"build", "__pycache__", ".git"} and not (folder / name / "pyvenv.cfg").exists()
        ]
        for path in (folder / name for name in files):
            is_source = path.suffix in {".h", ".cc", ".inc", ".py", ".pyi", ".sh", ".cmake"}
            if is_source or path.name in {"CMakeLists.txt", "Makefile"}:
                lines = path.read_text().count("\n")
                found += [f"{path.relative_to(root)} has {lines} lines"] if lines > LONGEST_FILE else []
    return found


def output_of(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.fail(f"{command[0]} is not installed: it comes with the C++ compiler (package binutils)")
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def library_problems(library: Path) -> list[str]:
    """What a server that loads the backend library would see and should not, or should and would not."""
    lines = output_of("nm", "-D", "--defined-only", str(library)).splitlines()
    symbols = [line.split()[-1].split("@")[0] for line in lines]
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", output_of("readelf", "-d", "-W", str(library)))
    problems = [f"exports {name}" for name in symbols if not name.startswith("TRITONBACKEND_")]
    if "TRITONBACKEND_ModelInstanceExecute" not in symbols:
        problems.append("does not export TRITONBACKEND_ModelInstanceExecute")
    return problems + [f"needs {name}" for name in needed if name.startswith(("libstdc++", "libgcc_s"))]


def file_ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", cxx_files(ROOT), ids=file_ids)
def test_a_cxx_file_goes_through_its_doors(path: Path) -> None:
    assert cxx_violations(ROOT, path) == []


@pytest.mark.parametrize("path", python_files(ROOT), ids=file_ids)
def test_a_python_file_goes_through_its_doors(path: Path) -> None:
    assert python_violations(ROOT, path) == []


@pytest.mark.parametrize("room", [*CXX_ROOMS, *PYTHON_ROOMS], ids=lambda room: room.folder)
def test_the_table_names_rooms_that_exist(room: Room) -> None:
    assert any((ROOT / room.folder).iterdir())


UTILS = "triton_python_backend_utils"
PLANTS = [
    ("triton_c_api/resolve.cc", "#include <unistd.h>", "unistd.h"),
    ("triton_c_api/types.h", "#include <triton/core/tritonserver.h>", "triton/core/tritonserver.h"),
    ("triton_c_api/resolve.cc", '#include "ipc/error.h"', "ipc/error.h"),
    ("ipc/ring.cc", '#include "triton_c_api/types.h"', "triton_c_api/types.h"),
    ("ipc/ring.cc", "#include <Python.h>", "Python.h"),
    ("ipc/ring.h", "#include <pybind11/pybind11.h>", "pybind11/pybind11.h"),
    ("ipc/ring.cc", '#include "../backend/batch.h"', "../backend/batch.h"),
    ("ipc/ring.cc", '#include "ipc/../backend/batch.h"', "ipc/../backend/batch.h"),
    ("ipc/ring.cc", "#include RING_HEADER", "RING_HEADER"),
    ("ipc/ring.cc", "#include <boost/asio.hpp>", "boost/asio.hpp"),
    ("backend/api.cc", "#  include  <pybind11/pybind11.h>", "pybind11/pybind11.h"),
    ("backend/api.cc", "#include <Python.h>", "Python.h"),
    ("backend/supervisor/thread.cc", '#include "stub/lease.h"', "stub/lease.h"),
    ("stub/loop.cc", '#include "backend/batch.h"', "backend/batch.h"),
    ("stub/loop.cc", '#include "triton_c_api/types.h"', "triton_c_api/types.h"),
    (f"{UTILS}/_bytes.py", "import rich", "rich"),
    (f"{UTILS}/_bytes.py", "from triton_python import serve", "triton_python.serve"),
    (f"{UTILS}/_bytes.py", "def f():\n    import torch", "torch"),
    (f"{UTILS}/_bytes.py", "from typing_extensions import Self", "typing_extensions.Self"),
    (f"{UTILS}/_core.pyi", "import pandas", "pandas"),
    (f"{UTILS}/launch/stub_main.py", "import typer", "typer"),
    (f"{UTILS}/launch/planted.py", "import numpy", "numpy"),
    (f"{UTILS}/launch/planted.py", "import backports.tarfile", "backports.tarfile"),
    (f"{UTILS}/_bytes.py", "import zstandard", "zstandard"),
    (f"{UTILS}/launch/planted.py", "__import__('numpy')", "numpy"),
    ("triton_python/_serve.py", f"from {UTILS} import _core", f"{UTILS}._core"),
    ("triton_python/_serve.py", f"import {UTILS}._dtypes", f"{UTILS}._dtypes"),
    ("triton_python/_serve.py", "from tests import conftest", "tests.conftest"),
    ("benchmarks/generator/main.cc", '#include "ipc/ring.h"', "ipc/ring.h"),
    ("benchmarks/generator/main.cc", '#include "backend/batch.h"', "backend/batch.h"),
    ("benchmarks/floor/floor.cc", '#include "stub/lease.h"', "stub/lease.h"),
    (
        "benchmarks/run.py",
        "from triton_python._server import find_server",
        "triton_python._server.find_server",
    ),
    ("backend/api.cc", '#include "benchmarks/generator/api.h"', "benchmarks/generator/api.h"),
    ("examples/planted.py", "from triton_python._serve import serve", "triton_python._serve.serve"),
]


@pytest.mark.parametrize(("file", "line", "named"), PLANTS)
def test_a_line_that_goes_through_no_door_is_found(tmp_path: Path, file: str, line: str, named: str) -> None:
    room = file.split("/")[0]
    shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    before = violations(tmp_path)

    with (tmp_path / file).open("a") as source:
        source.write(f"\n{line}\n")

    verb = "include" if "#" in line else "import"
    assert set(violations(tmp_path)) - set(before) == {f"{file} must not {verb} {named}"}


def test_no_source_file_is_too_long() -> None:
    assert too_long(ROOT) == []


@pytest.mark.parametrize("file", ["ipc/ring.cc", "tests/server/test_x.py", "cmake/x.cmake", "docs/Makefile"])
def test_a_file_that_is_too_long_is_found(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("\n" * LONGEST_FILE)
    assert too_long(tmp_path) == []

    (tmp_path / file).write_text("\n" * (LONGEST_FILE + 1))

    assert too_long(tmp_path) == [f"{file} has 501 lines"]


def installed_file(name: str) -> str:
    return str(importlib.metadata.distribution("triton-python-backend").locate_file(name))


def compiled(library: Path, code: str, *options: str) -> Path:
    source = library.with_suffix(".cc")
    source.write_text(code)
    output_of("c++", "-shared", "-fPIC", "-O1", *options, "-o", str(library), str(source))
    return library


@pytest.fixture
def backend_library() -> Path:
    """The library that the installed package brings, or the one that $TPB_BACKEND_LIBRARY names."""
    named = os.environ.get("TPB_BACKEND_LIBRARY")
    try:
        path = Path(named or installed_file(BACKEND_LIBRARY))
    except importlib.metadata.PackageNotFoundError:
        pytest.fail("triton-python-backend is not installed in this Python: run `make test`")
    if not path.is_file():
        pytest.fail(f"there is no {path}: run `make test`, or set TPB_BACKEND_LIBRARY to libtriton_python.so")
    return path


def test_the_backend_library_shows_and_needs_only_what_it_must(backend_library: Path) -> None:
    assert library_problems(backend_library) == []


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("int leaked() { return 1; }", "exports _Z6leakedv"),
        ("std::string* text(int i) { return new std::string(std::to_string(i)); }", "needs libstdc++.so.6"),
        ("void call(void (*f)()) { try { f(); } catch (...) { throw; } }", "needs libgcc_s.so.1"),
    ],
)
def test_a_library_that_shows_or_needs_more_is_found(tmp_path: Path, code: str, problem: str) -> None:
    execute = 'extern "C" int TRITONBACKEND_ModelInstanceExecute() { return 0; }\n'
    good = compiled(tmp_path / "good.so", execute, "-static-libstdc++", "-static-libgcc")
    assert library_problems(good) == []

    bad = compiled(tmp_path / "bad.so", f"#include <string>\n{execute}{code}\n")

    assert problem in library_problems(bad)


def test_a_library_that_is_no_backend_is_found(tmp_path: Path) -> None:
    library = compiled(tmp_path / "other.so", 'extern "C" int TRITONBACKEND_Initialize() { return 0; }\n')

    assert "does not export TRITONBACKEND_ModelInstanceExecute" in library_problems(library)
