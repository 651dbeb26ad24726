"""Models run in every Python from 3.9 to 3.13, with NumPy 1 and 2; each has a compiled module of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, write_model
from serving.types import StartServer

import triton_python

pytestmark = [pytest.mark.more, pytest.mark.pythons, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "pythons"
PAIRS = [
    ("3.9", "numpy==1.19.5"),
    ("3.9", "numpy>=2"),
    ("3.10", "numpy<2"),
    ("3.10", "numpy>=2"),
    ("3.11", "numpy<2"),
    ("3.11", "numpy>=2"),
    ("3.12", "numpy<2"),
    ("3.12", "numpy>=2"),
    ("3.13", "numpy>=2"),
]
IDENTITY = """
import sys

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            outputs = []
            for tensor in request.inputs():
                array = tensor.as_numpy()
                name = tensor.name().replace("IN_", "OUT_")
                same = array[:] if array.dtype == np.object_ else array + array.dtype.type(0)
                outputs.append(pb_utils.Tensor(name, same))
                if array.dtype != np.object_:  # the same memory by DLPack, which needs no NumPy
                    outputs[-1] = pb_utils.Tensor.from_dlpack(name, outputs[-1])
            told = np.array([*sys.version_info[:2], int(np.__version__.split(".")[0])], np.int32)
            answers.append(pb_utils.InferenceResponse([*outputs, pb_utils.Tensor("TOLD", told)]))
        return answers
"""
TYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "UINT8": np.uint8, "FP16": np.float16}
STRING = "STRING"


def find_python(version: str) -> Path:
    """`pythonX.Y` on PATH, or of pyenv; skips the test when there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}")),
    ]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return Path(candidate)
    pytest.skip(f"no Python {version} on PATH or in pyenv")


def environment(version: str, numpy: str) -> Path:
    """The interpreter of a virtual environment with that NumPy and what the build needs."""
    folder = WORK / f"{version}-{numpy}".replace(">=", "from").replace("==", "is").replace("<", "below")
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([find_python(version), "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", numpy, "pybind11>=2.13,<4"], check=True)
        (folder / "ready").touch()
    return python


def backends_for(version: str, python: Path) -> Path:
    """A backend folder whose package has a compiled module for that Python."""
    prefix = WORK / f"prefix-{version}"
    build = WORK / f"build-{version}"
    subprocess.run(
        [
            *("cmake", "-S", ROOT, "-B", build, "-G", "Ninja"),
            *("-DCMAKE_BUILD_TYPE=Release", "-DTPB_BUILD_BACKEND=OFF"),
            *(f"-DPython_EXECUTABLE={python}", f"-DCMAKE_INSTALL_PREFIX={prefix}"),
        ],
        check=True,
    )
    subprocess.run(["cmake", "--build", build], check=True)
    subprocess.run(["cmake", "--install", build], check=True, stdout=subprocess.DEVNULL)
    library = prefix / "backends" / "python" / "libtriton_python.so"
    library.unlink(missing_ok=True)
    library.symlink_to(Path(triton_python.__file__).parent / "backends" / "python" / library.name)
    return prefix / "backends"


@pytest.mark.parametrize(("version", "numpy"), PAIRS)
def test_models_run_in_this_python_with_this_numpy(
    version: str, numpy: str, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    python = environment(version, numpy)
    tensors = {f"IN_{name}": array for name, array in sample().items()}
    server = start_server(
        backend_dir=backends_for(version, python), settings={"python-executable": str(python)}
    )
    write_model(
        server.start.repository,
        "m",
        IDENTITY,
        config(
            {f"IN_{name}": (name, [-1]) for name in (*TYPES, STRING)},
            {**{f"OUT_{name}": (name, [-1]) for name in (*TYPES, STRING)}, "TOLD": ("INT32", [3])},
        ),
    )

    with Client(server) as client:
        client.load("m")
        answers = client.infer("m", tensors)

    assert ".".join(map(str, answers["TOLD"][:2])) == version
    assert answers["TOLD"][2] == (2 if numpy == "numpy>=2" else 1)
    for name, array in sample().items():
        np.testing.assert_array_equal(answers[f"OUT_{name}"], array)


def sample() -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    arrays = {name: random.integers(0, 100, 9000).astype(dtype) for name, dtype in TYPES.items()}
    return {**arrays, STRING: np.array([random.bytes(i % 9) for i in range(9000)], dtype=object)}
