"""A plain CMake build: for which Pythons `_core` is built, and what scripts for NVIDIA's backend pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def cmake_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def configure(build: Path, *options: str) -> subprocess.CompletedProcess[str]:
    python = f"-DPython_EXECUTABLE={sys.executable}"
    command = ["cmake", "-S", ROOT, "-B", build, "-G", "Ninja", "-DTPB_BUILD_BACKEND=OFF", python, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def fake_python(folder: Path, name: str, answer: str) -> Path:
    """A program that answers as that Python would, which this machine need not have."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\ncat <<'ANSWER'\n{answer}\nANSWER\n")
    program.chmod(0o755)
    return program


def facts(version: str, include: str = "/nowhere", free_threaded: bool = False, name: str = "cpython") -> str:
    own = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sysconfig, struct; print(sysconfig.get_platform(), struct.calcsize('P'))",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    major, minor = version.split(".")
    return (
        f'{{"executable": "/fake/python{version}", "implementation": "{name}", "version": [{major}, {minor}],'
        f' "suffix": ".so", "include": ["{include}"], "multiarch": "", "debug": false, '
        f'"free_threaded": {str(free_threaded).lower()}, "platform": ["{own[0]}", {own[1]}]}}'
    )


def test_options_of_nvidias_build_are_ignored_with_one_line(tmp_path: Path) -> None:
    options = ("TRITON_ENABLE_GPU=ON", "TRITON_BACKEND_REPO_TAG=r26.01", "TRITON_CORE_REPO_TAG=r26.01")

    result = configure(tmp_path, "-DTPB_PYTHONS=own", *(f"-D{option}" for option in options))

    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if "TRITON_" in line]
    assert line.startswith("-- Ignored")
    assert all(option in line for option in options)
    assert result.stderr == ""  # no warning about variables that nobody used


def test_only_the_configured_python_where_that_is_wanted(tmp_path: Path) -> None:
    result = configure(tmp_path, "-DTPB_PYTHONS=own")

    assert f"-- _core is built for Python {VERSION}\n" in result.stdout
    command = ["ninja", "-C", tmp_path, "-t", "targets", "all"]
    targets = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "\ntriton-python-backend-stub: phony" in targets
    assert set(re.findall(r"_core\.cpython\S*\.so\b", targets)) == {f"_core{EXTENSION_SUFFIXES[0]}"}


def test_pythons_that_cannot_have_a_module_are_passed_over_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    broken = tmp_path / "include"
    broken.mkdir()
    (broken / "Python.h").write_text("#error these headers are broken\n")
    fake_python(programs, "python3.8", facts("3.8"))
    fake_python(programs, "python3.90", facts("3.90"))
    fake_python(programs, "python3.91", facts("3.91", free_threaded=True))
    fake_python(programs, "python3.92", facts("3.92", str(broken)))
    fake_python(programs, "python3.93", facts("3.93", name="pypy"))
    fake_python(programs, "python3.94", "no answer")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))

    result = configure(tmp_path / "build")

    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("-- _core")]
    built, _, line = line.partition("; passed over: ")
    assert VERSION in built
    assert not re.search(r"3\.9\d", built)
    assert "3.92 (/fake/python3.92: its headers do not compile with pybind11 " in line
    assert "3.8 (older than 3.9)" in line
    assert "3.90 (no Python.h: its package -dev or -devel brings it)" in line
    assert "3.91 (free-threaded)" in line
    assert "3.93 (pypy, not CPython)" in line
    assert "python3.94 (" in line


def test_a_python_that_is_named_has_to_be_one(tmp_path: Path) -> None:
    result = configure(tmp_path, "-DTPB_PYTHONS=/bin/ls")

    assert result.returncode != 0
    text = " ".join(result.stderr.split())
    assert "TPB_PYTHONS is '/bin/ls', but _core cannot be built for it" in text
    assert "/bin/ls does not answer as a Python does" in text
