"""In a Python program with gRPC, threads and forks of its own, the backend changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from serving.contender import Contender
from serving.repository import config, identity_config, model_code, write_model

HOST = Path(__file__).parent / "hosting" / "python_host.py"
HOST_SECONDS = 120
WARM_UP = """
model_warmup {{
  name: "one" batch_size: {batch} count: 3
  inputs {{ key: "IN" value {{ data_type: TYPE_INT32 dims: 4 zero_data: true }} }}
}}
"""
PARENT = """
import os

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.notes = args["model_repository"] + "/notes"

    def execute(self, requests):
        for request in requests:
            tensor = pb_utils.Tensor("IN", np.arange(1 << 18, dtype=np.int32))
            call = pb_utils.InferenceRequest(
                model_name="child", requested_output_names=["OUT"], inputs=[tensor]
            )
            right = np.array_equal(
                pb_utils.get_output_tensor_by_name(call.exec(), "OUT").as_numpy(), tensor.as_numpy()
            )
            with open(self.notes, "a") as notes:
                notes.write(f"{right}\\n")
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", request.inputs()[0].as_numpy())])
                for request in requests]
"""
CRASHING = """
import os
import threading

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        notes = args["model_repository"] + "/started"
        with open(notes, "a") as started:
            started.write("x")
        if os.path.getsize(notes) < 3:
            threading.Timer(0.1, os._exit, [1]).start()

    def execute(self, requests):
        return []
"""


def library(binary: Path) -> Path:
    """The libtritonserver of the server that the tests use."""
    root = binary.resolve().parents[1]
    found = [
        path
        for place in (root / "lib", root.parent.parent / "nvidia_pytriton.libs")
        for path in sorted(place.glob("libtritonserver*.so"))
    ]
    if not found:
        pytest.skip(f"the server at {binary} has its core in no library of its own")
    return found[0]


@pytest.fixture
def seen(triton_server_binary: Path, contender: Contender, tmp_path: Path) -> dict[str, Any]:
    """What the program tells of itself."""
    models = tmp_path / "models"
    write_model(models, "child", model_code("identity"), identity_config("INT32"))
    write_model(models, "parent", PARENT, identity_config("INT32", more=WARM_UP.format(batch=1)))
    write_model(models, "crashing", CRASHING, config({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])}))
    backends = str(contender.directory)
    core = library(triton_server_binary)
    words = [sys.executable, str(HOST), str(core), backends, str(models)]
    done = subprocess.run(
        words,
        cwd=tmp_path,
        # The libraries that the core needs lie beside it, which it does not know itself.
        env={**os.environ, "LC_ALL": "C.UTF-8", "LD_LIBRARY_PATH": str(core.parent)},
        capture_output=True,
        text=True,
        timeout=HOST_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert (models / "parent" / "notes").read_text().split() == ["True"] * 3
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_a_python_program_stays_as_it_is(seen: dict[str, Any]) -> None:
    assert seen["with_models"] == seen["with_server"]
    assert seen["after"] == seen["with_server"]
    unchanged = ("locale", "folder", "environment", "umask", "priority", "oom", "handlers")
    assert {key: seen["after"][key] for key in unchanged} == {key: seen["before"][key] for key in unchanged}
    assert seen["forks"] == [0, 0, 0]
    assert seen["answers"] > 10
    assert seen["wrong"] == 0
