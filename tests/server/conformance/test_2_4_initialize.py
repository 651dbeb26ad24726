"""What initialize gets, and when it comes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
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


KEYS = {
    "name",
    "platform",
    "backend",
    "runtime",
    "version_policy",
    "max_batch_size",
    "input",
    "output",
    "batch_input",
    "batch_output",
    "optimization",
    "instance_group",
    "default_model_filename",
    "cc_model_filenames",
    "metric_tags",
    "parameters",
    "model_warmup",
}
TENSOR_KEYS = {"name", "data_type", "dims", "is_shape_tensor"}
INPUT_KEYS = {"format", "allow_ragged_batch", "optional", "is_non_linear_format_io"}
SECTIONS = {
    "optimization": {
        "priority",
        "input_pinned_memory",
        "output_pinned_memory",
        "gather_kernel_buffer_threshold",
        "eager_batching",
    },
    "instance_group": {
        "name",
        "kind",
        "count",
        "gpus",
        "secondary_devices",
        "profile",
        "passive",
        "host_policy",
    },
    "input": TENSOR_KEYS | INPUT_KEYS,
    "output": TENSOR_KEYS | {"label_filename", "is_non_linear_format_io"},
}
SCHEDULERS = {
    "": set(),
    "dynamic_batching { }": {"dynamic_batching"},
    "sequence_batching { }": {"sequence_batching"},
    "model_transaction_policy { decoupled: false }": {"model_transaction_policy"},
    "response_cache { enable: false }": {"response_cache"},
}


@pytest.mark.parametrize("more", SCHEDULERS)
def test_the_configuration_has_all_keys_and_values_of_their_types(
    load: Load, http: Client, more: str
) -> None:
    """Those with a default as well; the sections that choose something, when they are set."""
    batched = "batching" in more
    text = config(*TENSORS, max_batch_size=4 if batched else 0, more=more)
    model = load(telling("json.loads(self.args['model_config'])"), text)
    sent = {"IN": np.array([[1]] if batched else [1], np.int32)}
    configuration = json.loads(http.error(model, sent, sequence_id=1, sequence_start=True))
    assert set(configuration) == KEYS | SCHEDULERS[more]
    for section, keys in SECTIONS.items():
        value = configuration[section]
        (entry,) = value if isinstance(value, list) else [value]
        assert set(entry) == keys
    assert configuration["default_model_filename"] == "model.py"
    assert configuration["version_policy"] == {"latest": {"num_versions": 1}}
    assert configuration["instance_group"][0]["kind"] == "KIND_CPU"
    assert configuration["input"][0]["dims"] == [-1]
    assert configuration["input"][0]["optional"] is False


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
