"""Models run in every Python from 3.9 to 3.13, with NumPy 1 and 2, from the folder that the wheel holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from pythons import WORK, backends_of_the_wheel, find_python
from serving.client import Client
from serving.repository import config, write_model
from serving.types import StartServer

pytestmark = [pytest.mark.more, pytest.mark.pythons, pytest.mark.timeout(1800)]

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


def environment(version: str, numpy: str) -> Path:
    """The interpreter of a virtual environment with that NumPy."""
    folder = WORK / f"{version}-{numpy}".replace(">=", "from").replace("==", "is").replace("<", "below")
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([find_python(version), "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", numpy], check=True)
        (folder / "ready").touch()
    return python


@pytest.mark.parametrize(("version", "numpy"), PAIRS)
def test_models_run_in_this_python_with_this_numpy(
    version: str, numpy: str, start_server: StartServer
) -> None:
    python = environment(version, numpy)
    tensors = {f"IN_{name}": array for name, array in sample().items()}
    server = start_server(backend_dir=backends_of_the_wheel(), settings={"python-executable": str(python)})
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
