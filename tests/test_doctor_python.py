"""The doctor's checks of the Python that runs models: broken for real, and the advice read."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from doctoring import Copy, Report, add_packages_of_this_python, bare_python, examine

from triton_python import __version__

HERE = Path(sys.executable).parent


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without numpy."""
    return bare_python(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another environment that can run models."""
    python = bare_python(tmp_path_factory.mktemp("other"))
    add_packages_of_this_python(site_of(python))
    return python


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "copy")


def site_of(python: Path) -> Path:
    return next((python.parent.parent / "lib").glob("python*/site-packages"))


def with_numpy(folder: Path, source: str) -> Path:
    """A Python whose numpy is that."""
    python = bare_python(folder)
    package = site_of(python) / "numpy"
    package.mkdir()
    (package / "__init__.py").write_text(source)
    return python


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def on_path(*folders: Path) -> str:
    return os.pathsep.join([*(str(folder) for folder in folders), "/nowhere"])


def failed_alone(report: Report, name: str) -> None:
    assert (report.exit_status, report.status) == (1, "failed")
    assert {one for one in report.unwell() if report[one].status == "failed"} == {name}


# --- which one, and why ---


def test_the_one_that_is_named_comes_first(other: Path) -> None:
    found = examine("--python", str(other), PATH=on_path(HERE))["interpreter"]

    assert found.status == "ok"
    assert f"models run in {other} (Python {sys.version.split()[0]}): given with --python" in found.found


def test_python3_on_the_path_is_next(other: Path) -> None:
    found = examine(PATH=on_path(other.parent))["interpreter"]

    assert found.status == "ok"
    assert f"models run in {other} " in found.found
    assert "python3 on the PATH" in found.found
    assert f"`triton-python serve` without --python runs them in {sys.executable}" in found.found


def test_one_on_the_path_that_cannot_run_models_is_passed_over_with_the_reason(bare: Path) -> None:
    found = examine(PATH=on_path(bare.parent, HERE))["interpreter"]

    assert found.status == "ok"
    assert f"models run in {sys.executable} " in found.found
    assert "the Python that installed the backend" in found.found
    assert f"{bare} on the PATH is passed over: No module named 'numpy'" in found.found


@pytest.mark.parametrize("path", ["/nowhere", "", "bin"])
def test_without_one_on_the_path_the_installing_one_runs_models(path: str) -> None:
    found = examine(PATH=path)["interpreter"]

    assert found.status == "ok"
    assert "the Python that installed the backend" in found.found
    assert "passed over" not in found.found


def test_a_shim_on_the_path_is_asked_for_the_real_one(other: Path, tmp_path: Path) -> None:
    script(tmp_path / "python3", f'exec {other} "$@"')

    assert f"models run in {other} " in examine(PATH=on_path(tmp_path))["interpreter"].found


@pytest.mark.parametrize("name", ["/no/such/python", "no-such-command"])
def test_one_that_does_not_exist_is_told(name: str) -> None:
    report = examine("--python", name)

    failed_alone(report, "interpreter")
    assert f"--python {name} names no Python" in report["interpreter"].found
    assert "choose another Python, 3.9 or newer, with --python PATH" in report["interpreter"].advice
    assert report["numpy"].advice == "see the check `interpreter`"


@pytest.mark.parametrize(
    ("program", "why"), [("true", "it is no Python"), ("false", "it ended with status 1: it said nothing")]
)
def test_a_program_that_is_no_python_is_told(program: str, why: str) -> None:
    path = shutil.which(program)

    report = examine("--python", str(path))

    failed_alone(report, "interpreter")
    assert f"{path} (given with --python) cannot run models: {why}" in report["interpreter"].found


def test_a_python_that_cannot_be_executed_is_told(tmp_path: Path) -> None:
    (tmp_path / "python3").write_text("neither a script nor a program")
    (tmp_path / "python3").chmod(0o755)

    found = examine("--python", str(tmp_path / "python3"))["interpreter"]

    assert "it cannot be started (Exec format error)" in found.found


def test_an_old_python_is_told(tmp_path: Path) -> None:
    answer = (
        'triton-python-probe {"executable": "/p", "prefix": "/", "version": [3, 8, 2], "numpy": "1.24.0", '
        f'"core": "{__version__}"}}'
    )
    python = script(tmp_path / "python3", f"echo '{answer}'")

    report = examine("--python", str(python))

    failed_alone(report, "interpreter")
    assert "(Python 3.8.2)" in report["interpreter"].found
    assert "choose another Python, 3.9 or newer, with --python PATH" in report["interpreter"].advice


# --- our compiled module ---


def test_a_module_that_was_not_built_for_another_python_is_told(copy: Copy, other: Path) -> None:
    copy.core.rename(copy.core.with_name("_core.cpython-399-x86_64-linux-gnu.so"))

    found = copy.examine("--python", str(other))["compiled-module"]

    assert found.status == "failed"
    assert f"{other} cannot load _core from {copy.package}: there is none for this Python" in found.found
    assert f"install triton-python-backend into that Python ({other} -m pip install" in found.advice
    assert "and run triton-python from there" in found.advice


def test_a_module_that_is_cut_off_is_told(copy: Copy) -> None:
    os.truncate(copy.core, 5000)

    found = copy.examine()["compiled-module"]

    assert found.status == "failed"
    assert f"cannot load _core from {copy.package}: it was ended by SIGBUS" in found.found
    assert "install triton-python-backend again: pip install --force-reinstall" in found.advice


def test_a_module_that_is_no_module_is_told(copy: Copy) -> None:
    copy.core.write_text("not what the name says")

    found = copy.examine()["compiled-module"]

    assert found.status == "failed"
    assert f"cannot load _core from {copy.package}: {copy.core}: file too short" in found.found


def test_a_module_of_another_version_is_told(copy: Copy) -> None:
    text = copy.metadata.read_text()
    copy.metadata.write_text(text.replace(f"\nVersion: {__version__}\n", "\nVersion: 99.0\n"))

    found = copy.examine()["compiled-module"]

    assert found.status == "failed"
    assert f"is of version {__version__}, triton-python is 99.0" in found.found
    assert "install triton-python-backend again: pip install --force-reinstall" in found.advice


# --- numpy ---


def test_a_python_without_numpy_is_told(bare: Path) -> None:
    report = examine("--python", str(bare))

    failed_alone(report, "numpy")
    assert f"{bare} cannot import numpy: No module named 'numpy'" in report["numpy"].found
    assert report["numpy"].advice == f"install it: {bare} -m pip install 'numpy>=1.19'"


def test_a_numpy_for_another_python_is_told(tmp_path: Path) -> None:
    error = "numpy.core.multiarray failed to import"
    python = with_numpy(tmp_path / "venv", f"raise ImportError('''\n{error}\nand much more''')\n")

    report = examine("--python", str(python))

    failed_alone(report, "numpy")
    assert f"cannot import numpy: {error}" in report["numpy"].found
    assert f"{python} -m pip install --force-reinstall 'numpy>=1.19'" in report["numpy"].advice


def test_an_old_numpy_is_told(tmp_path: Path) -> None:
    report = examine("--python", str(with_numpy(tmp_path / "venv", "__version__ = '1.18.5'\n")))

    failed_alone(report, "numpy")
    assert report["numpy"].found == "numpy 1.18.5 is too old"
    assert "pip install 'numpy>=1.19'" in report["numpy"].advice


def test_a_numpy_whose_arrays_are_none_is_told(tmp_path: Path) -> None:
    """As when files of two versions lie in one folder."""
    source = "__version__ = '2.1.0'\nfloat32 = None\ndef arange(*_, **__): return [1]\n"

    report = examine("--python", str(with_numpy(tmp_path / "venv", source)))

    failed_alone(report, "numpy")
    assert "numpy 2.1.0 cannot be used for tensors: " in report["numpy"].found


def test_a_numpy_in_the_working_directory_is_not_taken(bare: Path, tmp_path: Path) -> None:
    """The backend does not take it either."""
    (tmp_path / "numpy.py").write_text("__version__ = '2.0.0'\n")

    found = examine("--python", str(bare), cwd=tmp_path)["numpy"].found

    assert "No module named 'numpy'" in found
