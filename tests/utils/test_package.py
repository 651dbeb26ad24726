"""The package as users import it, and what is left of it where `_core` was not built."""

from __future__ import annotations

import doctest
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import triton_python_backend_utils as pb_utils

PACKAGE = Path(pb_utils.__file__).parent
NATIVE = {
    "TRITONSERVER_MEMORY_CPU",
    "TRITONSERVER_MEMORY_GPU",
    "InferenceRequest",
    "InferenceResponse",
    "Logger",
    "MetricFamily",
    "PreferredMemory",
    "Tensor",
    "TritonError",
    "TritonInferenceException",
    "TritonModelException",
    "get_model_dir",
    "is_model_ready",
    "load_model",
    "unload_model",
}


@pytest.fixture
def without_core(tmp_path: Path) -> Path:
    """A folder with the package as a Python sees it for which it was not built."""
    ignored = shutil.ignore_patterns("_core.*.so", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=ignored)
    return tmp_path


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import triton_python_backend_utils as pb_utils\n{code}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def names(folder: Path) -> set[str]:
    result = run("import json; print(json.dumps(pb_utils.__all__))", folder)
    return set(json.loads(result.stdout))


def test_pure_names_are_there_without_core(without_core: Path) -> None:
    found = names(without_core)

    assert "ModelConfig" in found
    assert "np" in found
    assert not found & NATIVE


def test_star_import_works_without_core(without_core: Path) -> None:
    result = run("from triton_python_backend_utils import *; print(np.__name__)", without_core)

    assert (result.stdout, result.stderr) == ("numpy\n", "")


@pytest.mark.parametrize("name", sorted(NATIVE))
def test_native_name_without_core_says_what_to_do(without_core: Path, name: str) -> None:
    result = run(f"pb_utils.{name}", without_core)

    assert (
        f"AttributeError: module 'triton_python_backend_utils' has no attribute '{name}': " in result.stderr
    )
    assert f"({sys.implementation.cache_tag})" in result.stderr
    assert f"`triton-python stub build --python {sys.executable}`" in result.stderr
    assert f"with {sys.executable} -m pip install" in result.stderr


def test_broken_core_is_not_taken_for_a_missing_one(without_core: Path) -> None:
    (without_core / PACKAGE.name / "_core.py").write_text("import a_module_that_does_not_exist")

    result = run("", without_core)

    assert "No module named 'a_module_that_does_not_exist'" in result.stderr


def test_misspelt_name_is_an_attribute_error() -> None:
    with pytest.raises(
        AttributeError, match=r"^module 'triton_python_backend_utils' has no attribute 'Tensr'$"
    ):
        _ = pb_utils.Tensr  # type: ignore[attr-defined]


def test_every_public_name_exists() -> None:
    assert [name for name in pb_utils.__all__ if not hasattr(pb_utils, name)] == []
    assert len(set(pb_utils.__all__)) == len(pb_utils.__all__)


@pytest.mark.parametrize("name", ["_bytes", "_dtypes"])
def test_examples_in_docstrings_are_right(name: str) -> None:
    module = importlib.import_module(f"triton_python_backend_utils.{name}")

    failed, tried = doctest.testmod(module)

    assert tried > 0
    assert failed == 0
