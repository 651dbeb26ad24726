"""instance_group's kinds: each that the server offers loads, and tensors travel through CPU memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, instance_group, model_code, write_model
from serving.types import Load

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
TELLING = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.seen = args["model_instance_kind"] + " " + args["model_instance_device_id"]

    def execute(self, requests):
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError(self.seen)) for _ in requests]
"""
ONE = {"IN": np.array([1], np.int32)}


@pytest.mark.parametrize(
    ("kind", "seen"), [("KIND_CPU", "CPU 0"), ("KIND_AUTO", "CPU 0"), ("KIND_MODEL", "MODEL 0")]
)
def test_a_kind_loads_and_is_told_to_the_model(load: Load, http: Client, kind: str, seen: str) -> None:
    model = load(TELLING, config(*TENSORS, more=instance_group(kind=kind)))
    assert http.error(model, ONE) == seen


@pytest.mark.parametrize("kind", ["KIND_CPU", "KIND_AUTO", "KIND_MODEL"])
def test_instances_of_each_kind_answer(load: Load, http: Client, kind: str) -> None:
    model = load(model_code("identity"), config(*TENSORS, more=instance_group(2, kind)))
    for number in range(10):
        assert http.infer(model, {"IN": np.array([number], np.int32)})["OUT"].tolist() == [number]


def test_without_an_instance_group_there_is_one_on_the_cpu(load: Load, http: Client) -> None:
    model = load(TELLING, config(*TENSORS))
    assert http.error(model, ONE) == "CPU 0"
    assert [(one["kind"], one["count"]) for one in http.config(model)["instance_group"]] == [("KIND_CPU", 1)]


def test_kind_gpu_loads_where_the_server_offers_it(http: Client, repository: Path, model_name: str) -> None:
    """Without a GPU it is the server's core that refuses, before any backend is asked."""
    text = config(*TENSORS, more=instance_group(kind="KIND_GPU"))
    write_model(repository, model_name, TELLING, text)
    if Path("/dev/nvidia0").exists():
        http.load(model_name)
        assert http.error(model_name, ONE) == "GPU 0"
    else:
        error = http.load_error(model_name)
        assert "instance group" in error
        assert "KIND_GPU" in error
