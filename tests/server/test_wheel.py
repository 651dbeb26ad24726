"""What `make wheel` builds: in an empty environment of each Python, pip installs it and it serves a model."""

from __future__ import annotations

import os
import re
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pythons import ROOT, backends_of_the_wheel, distribution, find_python
from serving.client import Client
from serving.repository import config, write_model
from serving.types import StartServer

pytestmark = [pytest.mark.more, pytest.mark.pythons, pytest.mark.timeout(1800)]

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
MODEL = """
import sys

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        outputs = []
        for request in requests:
            doubled = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy() * 2
            if doubled[0] < 0:
                raise ValueError("too small")
            version = np.array(sys.version_info[:2], np.int32)
            tensors = [pb_utils.Tensor("OUT", doubled), pb_utils.Tensor("TOLD", version)]
            outputs.append(pb_utils.InferenceResponse(tensors))
        return outputs
"""
# A thread that waits in C++ without the GIL and comes back while the interpreter ends, which ends the thread.
LATE_THREAD = """
import importlib.util
import socket
import sys
import threading
import time

spec = importlib.util.spec_from_file_location("triton_python_backend_utils._core", sys.argv[1])
core = importlib.util.module_from_spec(spec)
spec.loader.exec_module(core)
server, stub = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
threading.Thread(target=core.connect, args=(stub.detach(),), daemon=True).start()
time.sleep(0.3)


class Last:
    def __del__(self, close=server.close, sleep=time.sleep):
        close()
        sleep(0.5)


sys.last = Last()
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_thread_that_comes_back_too_late_does_no_harm(version: str) -> None:
    """With the unwinder of LLVM in the module, Python's end of that thread was a segmentation fault."""
    python = find_python(version)
    suffix = f"cpython-{version.replace('.', '')}-*.so"
    (core,) = (backends_of_the_wheel() / "python" / "triton_python_backend_utils").glob(f"_core.{suffix}")

    result = subprocess.run(
        [python, "-c", LATE_THREAD, core], capture_output=True, text=True, timeout=60, check=False
    )

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_wheel_installs_and_serves_in_an_empty_environment(
    version: str, start_server: StartServer, tmp_path: Path
) -> None:
    programs = tmp_path / "environment" / "bin"
    subprocess.run([find_python(version), "-m", "venv", programs.parent], check=True)
    subprocess.run([programs / "python", "-m", "pip", "install", "-q", distribution("*.whl")], check=True)
    backends = subprocess.run(
        [programs / "triton-python", "backend-dir"],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # Named, because a python3 on the server's PATH comes before the one that composed the folder.
    server = start_server(
        backend_dir=Path(backends), settings={"python-executable": str(programs / "python")}
    )
    write_model(
        server.start.repository,
        "m",
        MODEL,
        config({"IN": ("FP32", [-1])}, {"OUT": ("FP32", [-1]), "TOLD": ("INT32", [2])}),
    )

    with Client(server) as client:
        client.load("m")
        answers = client.infer("m", {"IN": np.arange(9000, dtype=np.float32)})
        # An exception in Python, one in C++ on its way, and an answer: all three still work afterwards.
        with pytest.raises(Exception, match="too small"):
            client.infer("m", {"IN": -np.ones(3, np.float32)})
        again = client.infer("m", {"IN": np.ones(3, np.float32)})

    np.testing.assert_array_equal(answers["OUT"], 2 * np.arange(9000, dtype=np.float32))
    assert ".".join(map(str, answers["TOLD"])) == version
    np.testing.assert_array_equal(again["OUT"], 2 * np.ones(3, np.float32))


def test_the_wheel_has_the_tag_of_the_floor_that_the_documents_name() -> None:
    name = distribution("*.whl").name

    (floor,) = re.findall(r"^GLIBC := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.search(rf"-py3-none-\S*\bmanylinux_{floor.replace('.', '_')}_", name)
    assert f"glibc {floor}" in (ROOT / "README.md").read_text()


def test_the_wheel_holds_a_module_for_each_python_here() -> None:
    with zipfile.ZipFile(distribution("*.whl")) as wheel:
        tags = set(re.findall(r"_core\.cpython-(\d+)-", " ".join(wheel.namelist())))

    for version in VERSIONS:
        assert find_python(version)
        assert version.replace(".", "") in tags


def test_the_sdist_builds_in_an_empty_environment(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([find_python("3.12"), "-m", "venv", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip"]
    options = ["--no-deps", "--wheel-dir", tmp_path, "--config-settings=cmake.define.TPB_PYTHONS=own"]

    subprocess.run([*pip, "wheel", "-q", *options, distribution("*.tar.gz")], check=True)

    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as wheel:
        names = wheel.namelist()
    assert "triton_python/backends/python/libtriton_python.so" in names
    assert [name for name in names if "/_core.cpython-312-" in name]
    assert "triton_python/source/stub/CMakeLists.txt" in names
