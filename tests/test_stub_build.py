"""`triton-python stub build`: the compiled module for a Python that has none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from command import complaint, run, usage_error
from pythons import distribution, find_python

import triton_python

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def fake_python(folder: Path, **facts: object) -> str:
    """A program that answers as a Python would that this machine need not have."""
    answer = {
        "version": list(sys.version_info[:2]),
        "implementation": "cpython",
        "suffix": ".so",
        "include": [sysconfig.get_path("include")],
        "free_threaded": False,
        **facts,
    }
    program = folder / "python"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    program.chmod(0o755)
    return str(program)


def test_without_a_python_it_says_which_option_is_missing() -> None:
    assert "--python" in usage_error(run("stub", "build"))


def test_what_is_no_python_is_refused(tmp_path: Path) -> None:
    missing = complaint(run("stub", "build", "--python", str(tmp_path / "nothing")))
    other = complaint(run("stub", "build", "--python", "/bin/ls"))

    assert f"--python {tmp_path}/nothing names no Python" in missing
    assert "/bin/ls does not answer as a Python does (exit status 2): name a Python with --python" in other


def test_a_python_that_models_cannot_run_in_is_refused(tmp_path: Path) -> None:
    old = complaint(run("stub", "build", "--python", fake_python(tmp_path, version=[3, 8])))
    free = complaint(run("stub", "build", "--python", fake_python(tmp_path, free_threaded=True)))
    pypy = complaint(run("stub", "build", "--python", fake_python(tmp_path, implementation="pypy")))

    assert "/python is Python 3.8: models need 3.9 or newer" in old
    assert f"Python {VERSION}, free-threaded: models run in ordinary CPython" in free
    assert f"Python {VERSION}, pypy: models run in ordinary CPython" in pypy


def test_without_headers_it_names_the_package_that_brings_them(tmp_path: Path) -> None:
    said = complaint(run("stub", "build", "--python", fake_python(tmp_path, include=[str(tmp_path)])))

    assert f"there is no Python.h in {tmp_path}: " in said
    assert f"python{VERSION}-dev (Debian, Ubuntu)" in said


def test_without_a_compiler_it_says_how_to_get_one(tmp_path: Path) -> None:
    none = complaint(run("stub", "build", "--python", sys.executable, PATH=str(tmp_path), CXX=""))
    wrong = complaint(run("stub", "build", "--python", sys.executable, CXX="/nowhere/c++ -O1"))

    assert "there is no C++ compiler on the PATH: install g++ 11 or newer" in none
    assert "CXX is '/nowhere/c++ -O1', which is no program: " in wrong


def test_into_a_folder_that_holds_no_backend_is_refused(tmp_path: Path) -> None:
    said = complaint(run("stub", "build", "--python", sys.executable, "--into", str(tmp_path)))

    assert f"there is no {tmp_path}/triton_python_backend_utils" in said


def test_a_failure_is_a_sentence_with_the_log_and_leaves_nothing_else(tmp_path: Path) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho 'c++: fatal error: no room' >&2\nexit 1\n")
    compiler.chmod(0o755)
    cache = tmp_path / "cache"

    said = complaint(
        run("stub", "build", "--python", sys.executable, CXX=str(compiler), XDG_CACHE_HOME=str(cache))
    )

    log = cache / "triton-python" / "cores" / f"build-{VERSION}.log"
    assert f"could not build _core for Python {VERSION} ({sys.executable}): configuring failed" in said
    assert said.endswith(f"; {log} has all of it")
    assert "no room" in log.read_text()
    assert sorted(path.name for path in log.parent.iterdir()) == [log.name, "build.lock"]


@pytest.mark.more
@pytest.mark.pythons
@pytest.mark.timeout(1800)
def test_a_module_for_another_python_is_built_put_in_its_place_and_loads(tmp_path: Path) -> None:
    """By an installed wheel that has none for it, in an environment without CMake and pybind11."""
    python = find_python(next(one for one in ("3.12", "3.10", "3.13", "3.9") if one != VERSION))
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "-q", distribution("*.whl")]
    subprocess.run(pip, check=True)
    (package,) = environment.glob("lib/*/site-packages/triton_python_backend_utils")
    suffix = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (package / f"_core{suffix}").unlink()
    command = [environment / "bin" / "triton-python", "stub", "build", "--python", python]
    cache = tmp_path / "cache"
    environ = {**os.environ, "XDG_CACHE_HOME": str(cache)}

    result = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{package}/_core{suffix}\n"
    assert "fetching cmake, ninja and pybind11" in result.stderr
    load = f"import sys; sys.path.insert(0, {str(package)!r}); import _core; print(_core.__version__)"
    loaded = subprocess.run([python, "-c", load], capture_output=True, text=True, check=True)
    assert loaded.stdout == f"{triton_python.__version__}\n"
    assert not list((cache / "triton-python" / "cores").glob("scratch*"))
