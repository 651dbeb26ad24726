"""Models run in every Python from 3.9 to 3.13, with NumPy 1 and 2, from the folder that the wheel holds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from pythons import PACKAGE, backends_of_the_wheel, environment
from serving.client import Client
from serving.environments import pack
from serving.repository import config, parameters, write_model
from serving.telling import ONE, TENSORS, telling
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
# NumPy 1 has no wheels for Python 3.13.
EDGES = [("3.9", "numpy==1.19.5"), ("3.9", "numpy>=2"), ("3.13", "numpy>=2")]
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
FACTS = "[sys.prefix, sys.modules['c_python_backend_utils'].__file__, os.environ.get('VIRTUAL_ENV')]"
TYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "UINT8": np.uint8, "FP16": np.float16}
STRING = "STRING"


@pytest.mark.parametrize(("version", "numpy"), PAIRS)
def test_models_run_in_this_python_with_this_numpy(
    version: str, numpy: str, start_server: StartServer
) -> None:
    python = environment(version, numpy)
    server = start_server(backend_dir=backends_of_the_wheel(), settings={"python-executable": str(python)})
    write_model(server.start.repository, "m", IDENTITY, identity_text())

    with Client(server) as client:
        client.load("m")
        check_identity(client, version, numpy)


@pytest.mark.parametrize("form", ["folder", "archive"])
@pytest.mark.parametrize(("version", "numpy"), EDGES)
def test_an_environment_of_another_python_brings_its_numpy(
    version: str, numpy: str, form: str, start_server: StartServer, tmp_path: Path
) -> None:
    """By EXECUTION_ENV_PATH, in a server whose own models run in this test's Python."""
    folder = environment(version, numpy).parent.parent
    named = folder if form == "folder" else pack(folder, tmp_path / "env.tar.gz")
    cache, backends = tmp_path / "cache", backends_of_the_wheel()
    server = start_server(
        backend_dir=backends,
        settings={"python-executable": sys.executable, "environment-cache-directory": str(cache)},
    )
    more = parameters(EXECUTION_ENV_PATH=str(named))
    write_model(server.start.repository, "m", IDENTITY, identity_text(more))
    write_model(server.start.repository, "facts", telling(FACTS), config(*TENSORS, more=more))
    write_model(server.start.repository, "default", telling(FACTS), config(*TENSORS))

    with Client(server) as client:
        for model in ("m", "facts", "default"):
            client.load(model)
        check_identity(client, version, numpy)
        prefix, core, activated = json.loads(client.error("facts", ONE))
        default, _, _ = json.loads(client.error("default", ONE))

    if form == "archive":
        (folder,) = cache.glob("environments/*/env")
    assert (prefix, activated, default) == (str(folder), str(folder), sys.prefix)
    assert Path(core).resolve().parent == (backends / "python" / PACKAGE).resolve()
    assert f"_core.cpython-{version.replace('.', '')}-" in core


def identity_text(more: str = "") -> str:
    names = (*TYPES, STRING)
    outputs = {f"OUT_{name}": (name, [-1]) for name in names}
    return config(
        {f"IN_{name}": (name, [-1]) for name in names}, {**outputs, "TOLD": ("INT32", [3])}, more=more
    )


def check_identity(client: Client, version: str, numpy: str) -> None:
    """That the model `m` has that Python and that NumPy, and answers with what it is sent."""
    answers = client.infer("m", {f"IN_{name}": array for name, array in sample().items()})
    assert ".".join(map(str, answers["TOLD"][:2])) == version
    assert answers["TOLD"][2] == (2 if numpy == "numpy>=2" else 1)
    for name, array in sample().items():
        np.testing.assert_array_equal(answers[f"OUT_{name}"], array)


def sample() -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    arrays = {name: random.integers(0, 100, 9000).astype(dtype) for name, dtype in TYPES.items()}
    return {**arrays, STRING: np.array([random.bytes(i % 9) for i in range(9000)], dtype=object)}
