"""What initialize gets, and when it comes."""

from __future__ import annotations

import json
from pathlib import Path

from serving.client import Client
from serving.repository import config, model_code, parameters
from serving.server import TritonServer
from serving.telling import ONE, TENSORS, telling
from serving.types import Load


def test_initialize_gets_seven_texts(load: Load, http: Client, server: TritonServer) -> None:
    model = load(telling("self.args"), config(*TENSORS, more=parameters(some_key="some value")))
    args = json.loads(http.error(model, ONE))
    configuration = json.loads(args.pop("model_config"))
    assert args == {
        "model_instance_kind": "CPU",
        "model_instance_name": f"{model}_0",
        "model_instance_device_id": "0",
        "model_repository": str(server.start.repository / model),
        "model_version": "1",
        "model_name": model,
    }
    assert configuration == http.config(model)
    assert configuration["name"] == model
    assert configuration["parameters"]["some_key"] == {"string_value": "some value"}
    assert configuration["input"][0]["data_type"] == "TYPE_INT32"


def test_instances_are_numbered_in_their_names(load: Load, http: Client, tmp_path: Path) -> None:
    model = load(
        f"""
class TritonPythonModel:
    def initialize(self, args):
        open({str(tmp_path)!r} + "/" + args["model_instance_name"], "x").close()

    def execute(self, requests):
        return []
""",
        config(*TENSORS, more="instance_group [ { count: 2 kind: KIND_CPU }, { count: 1 kind: KIND_CPU } ]"),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{model}_0_0",
        f"{model}_0_1",
        f"{model}_1_0",
    ]


def test_initialize_and_finalize_may_be_absent(load: Load, http: Client) -> None:
    model = load(model_code("identity"), config(*TENSORS))
    assert http.infer(model, ONE)["OUT"].tolist() == [1]
    http.unload(model)


def test_a_reload_starts_afresh(load: Load, http: Client, repository: Path) -> None:
    """A new process each time: nothing of the module that was loaded before is left."""
    model = load(telling("os.getpid()"), config(*TENSORS))
    first = json.loads(http.error(model, ONE))
    for _ in range(3):
        http.unload(model)
        http.load(model)
        second = json.loads(http.error(model, ONE))
        assert second != first
        first = second
