"""auto_complete_config: what it may set, what it may not, and in which process it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, instance_group, write_model
from serving.server import TritonServer
from serving.types import Load, StartServer

HEAD = """
import os

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", request.inputs()[0].as_numpy())])
            for request in requests
        ]

    @staticmethod
    def auto_complete_config(config):
"""
COMPLETE = (
    HEAD
    + """
        config.add_input({"name": "IN", "data_type": "TYPE_FP32", "dims": [-1]})
        config.add_output({"name": "OUT", "data_type": "TYPE_FP32", "dims": [-1]})
        config.set_max_batch_size(4)
        config.set_dynamic_batching()
        return config
"""
)
TENSORS = ({"IN": ("FP32", [-1])}, {"OUT": ("FP32", [-1])})


def load_error(http: Client, repository: Path, model: str, code: str, text: str | None = "") -> str:
    write_model(repository, model, code, text)
    error = http.load_error(model)
    start = f"load failed for model '{model}': version 1 is at UNAVAILABLE state: "
    assert error.startswith(start)
    assert error.endswith(";\n")
    return error[len(start) : -2]


def completed(http: Client, load: Load, body: str, text: str = "") -> dict[str, Any]:
    return http.config(load(HEAD + body, text))


def test_it_fills_an_empty_configuration(load: Load, client: Client, http: Client) -> None:
    model = load(COMPLETE)
    got = http.config(model)
    assert [(one["name"], one["data_type"], one["dims"]) for one in got["input"]] == [
        ("IN", "TYPE_FP32", [-1])
    ]
    assert [(one["name"], one["data_type"], one["dims"]) for one in got["output"]] == [
        ("OUT", "TYPE_FP32", [-1])
    ]
    assert got["max_batch_size"] == 4
    assert "dynamic_batching" in got
    sent = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(client.infer(model, {"IN": sent})["OUT"], sent)


def test_it_works_without_a_config_file(repository: Path, http: Client, model_name: str) -> None:
    write_model(repository, model_name, COMPLETE, config=None)
    http.load(model_name)
    got = http.config(model_name)
    assert got["backend"] == "python"
    assert got["default_model_filename"] == "model.py"
    sent = np.ones((1, 2), np.float32)
    assert np.array_equal(http.infer(model_name, {"IN": sent})["OUT"], sent)


def test_it_completes_half_a_configuration(load: Load, http: Client) -> None:
    got = completed(
        http,
        load,
        """
        config.add_input({"name": "IN", "data_type": "TYPE_FP32", "dims": [-1], "optional": True})
        config.add_output({"name": "OUT", "data_type": "TYPE_FP32", "dims": [-1]})
        return config
""",
        "input [ { name: 'OTHER' data_type: TYPE_INT8 dims: [ 2 ] } ]".replace("'", '"'),
    )
    assert [(one["name"], one["optional"]) for one in got["input"]] == [("OTHER", False), ("IN", True)]
    assert [one["name"] for one in got["output"]] == ["OUT"]


def test_initialize_and_the_client_see_the_completed_configuration(load: Load, http: Client) -> None:
    model = load(
        COMPLETE
        + """
    def initialize(self, args):
        import json

        config = json.loads(args["model_config"])
        assert config["max_batch_size"] == 4, config
        assert [one["name"] for one in config["input"]] == ["IN"], config
"""
    )
    assert http.config(model)["max_batch_size"] == 4


def test_a_model_without_it_is_left_as_it_is_configured(load: Load, http: Client) -> None:
    code = HEAD.partition("    @staticmethod")[0]
    model = load(code, config(*TENSORS, max_batch_size=3))
    got = http.config(model)
    assert got["max_batch_size"] == 3
    assert [one["name"] for one in got["input"]] == ["IN"]
    assert "dynamic_batching" not in got


def test_a_changed_configuration_is_completed_anew_at_the_next_load(
    load: Load, http: Client, repository: Path
) -> None:
    model = load(COMPLETE)
    write_model(repository, model, COMPLETE.replace("TYPE_FP32", "TYPE_INT16"))
    http.load(model)
    assert http.config(model)["input"][0]["data_type"] == "TYPE_INT16"


WRONG = {
    "a larger max_batch_size is configured": (
        "config.set_max_batch_size(2)",
        "max_batch_size: 5",
        "configuration specified max_batch_size 5, but in auto-complete-config function for model '{m}' "
        "specified max_batch_size 2",
    ),
    "another data type is configured": (
        "config.add_input({'name': 'IN', 'data_type': 'TYPE_INT8', 'dims': [-1]})",
        config(*TENSORS),
        "unable to load model '{m}', configuration expects datatype TYPE_FP32 for input 'IN', "
        "model provides TYPE_INT8",
    ),
    "other dims are configured": (
        "config.add_output({'name': 'OUT', 'data_type': 'TYPE_FP32', 'dims': [4, 4]})",
        config(*TENSORS),
        "model '{m}', tensor 'OUT': the model expects dims [4, 4] but the model configuration specifies "
        "dims [-1]",
    ),
    "a property is missing": (
        "config.add_input({'name': 'IN', 'dims': [-1]})",
        "",
        "input 'IN' in auto-complete-config function for model '{m}' is missing 'data_type' property.",
    ),
    "the name is missing": (
        "config.add_output({'data_type': 'TYPE_FP32', 'dims': [-1]})",
        "",
        "output in auto-complete-config function for model '{m}' is missing 'name' property.",
    ),
    "a property is foreign": (
        "config.add_output({'name': 'OUT', 'data_type': 'TYPE_FP32', 'dims': [-1], 'optional': True})",
        "",
        "output 'OUT' in auto-complete-config function for model '{m}' contains property other than 'name', "
        "'data_type' and 'dims'.",
    ),
    "a property of an input is foreign": (
        "config.add_input({'name': 'IN', 'data_type': 'TYPE_FP32', 'dims': [-1], 'shape': [1]})",
        "",
        "input 'IN' in auto-complete-config function for model '{m}' contains property other than 'name', "
        "'data_type', 'dims' and 'optional'.",
    ),
    "an input is configured as not optional": (
        "config.add_input({'name': 'IN', 'data_type': 'TYPE_FP32', 'dims': [-1], 'optional': True})",
        config(*TENSORS),
        "model '{m}', tensor 'IN': the model expects optional True but the model configuration specifies "
        "optional False",
    ),
    "a property of the transaction policy is foreign": (
        "config.set_model_transaction_policy({'streaming': True})",
        "",
        "model transaction property in auto-complete-config function for model '{m}' contains property other "
        "than 'decoupled'.",
    ),
    "another transaction policy is configured": (
        "config.set_model_transaction_policy({'decoupled': True})",
        "model_transaction_policy { decoupled: false }",
        "trying to change decoupled property in auto-complete-config for model '{m}', which is already set "
        "to 'False'.",
    ),
    "it is a sequence model": (
        "config.set_dynamic_batching()",
        "max_batch_size: 2 sequence_batching { }",
        "Configuration specified scheduling_choice as 'sequence_batching', but auto-complete-config function "
        "for model '{m}' tries to set scheduling_choice as 'dynamic_batching'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_contradicts_the_configuration_fails_the_load_with_the_documented_text(
    http: Client, repository: Path, model_name: str, case: str
) -> None:
    call, text, expected = WRONG[case]
    error = load_error(
        http,
        repository,
        model_name,
        HEAD + f"        {call}\n        return config\n",
        f'backend: "python"\n{text}' if "backend" not in text else text,
    )
    first, _, at = error.partition("\n\nAt:\n")
    assert first == f"Internal: ValueError: {expected.format(m=model_name)}"
    # The deepest frame comes first, the model's own last.
    assert at.splitlines()[-1] == (
        f"  {repository / model_name / '1' / 'model.py'}({_line_of(HEAD) + 1}): auto_complete_config"
    )


def _line_of(code: str) -> int:
    return code.count("\n")


@pytest.mark.parametrize("returned", ["None", "config.as_dict()", "'config'"])
def test_returning_something_else_fails_the_load(
    http: Client, repository: Path, model_name: str, returned: str
) -> None:
    error = load_error(http, repository, model_name, HEAD + f"        return {returned}\n")
    assert error == (
        f"Internal: auto_complete_config function in model '{model_name}' must return a valid "
        "pb.ModelConfig object."
    )


def test_it_always_finds_what_the_server_always_sends(load: Load, http: Client) -> None:
    got = completed(
        http,
        load,
        """
        found = config.as_dict()
        assert (found["input"], found["output"], found["max_batch_size"]) == ([], [], 0), found
        assert found["name"] and found["backend"] == "python", found
        return config
""",
        'backend: "python"',
    )
    assert got["max_batch_size"] == 0


def test_it_knows_the_folder_of_its_model(http: Client, repository: Path, model_name: str) -> None:
    body = "        raise ValueError(pb_utils.get_model_dir())\n"
    error = load_error(http, repository, model_name, HEAD + body)
    assert error.startswith(f"Internal: ValueError: {repository / model_name / '1'}\n\nAt:\n")


def test_what_it_changes_in_the_dictionary_counts(load: Load, http: Client) -> None:
    body = """
        config.as_dict()["max_batch_size"] = 3
        config.as_dict()["output"].append({"name": "OUT", "data_type": "TYPE_INT8", "dims": [2]})
        config.set_model_transaction_policy({})
        return config
"""
    got = completed(http, load, body)
    assert got["max_batch_size"] == 3
    assert [one["name"] for one in got["output"]] == ["OUT"]


@pytest.mark.differs("unknown-config-fields")
def test_what_the_server_cannot_accept_fails_the_load(
    http: Client, repository: Path, model_name: str
) -> None:
    body = "        config.as_dict()['no_such_field'] = 1\n        return config\n"
    assert "no_such_field" in load_error(http, repository, model_name, HEAD + body)


WHO = (
    HEAD.replace(
        "class TritonPythonModel:",
        """ASKED = []


class TritonPythonModel:
    def initialize(self, args):
        with open(os.environ["TPB_TEST_NOTES"], "a") as notes:
            print("initialize", os.getpid(), ASKED, file=notes)
""",
    )
    + """
        ASKED.append(os.getpid())
        with open(os.environ["TPB_TEST_NOTES"], "a") as notes:
            print("auto-complete", os.getpid(), file=notes)
        return config
"""
)


def notes_of(start_server: StartServer, tmp_path: Path, count: int, **options: Any) -> list[list[str]]:
    """Load WHO with so many instances in a server of its own; what it noted, in words."""
    notes = tmp_path / "notes"
    server = start_server(environment={"TPB_TEST_NOTES": str(notes)}, **options)
    write_model(server.start.repository, "who", WHO, config(*TENSORS, more=instance_group(count)))
    with Client(server) as client:
        client.load("who")
        pids = {str(stub.pid) for stub in server.stubs()}
        lines = [line.split() for line in notes.read_text().splitlines()]
        assert {line[1] for line in lines if line[0] == "initialize"} == pids
        assert len(pids) == count
    return lines


@pytest.mark.ours
def test_its_process_becomes_the_first_instance(start_server: StartServer, tmp_path: Path) -> None:
    (asked, initialized) = notes_of(start_server, tmp_path, 1)
    assert asked[0] == "auto-complete"
    assert initialized == ["initialize", asked[1], f"[{asked[1]}]"]


@pytest.mark.ours
def test_of_two_instances_one_has_its_process(start_server: StartServer, tmp_path: Path) -> None:
    asked, *initialized = notes_of(start_server, tmp_path, 2)
    assert asked[0] == "auto-complete"
    assert sorted(line[2] for line in initialized) == sorted(["[]", f"[{asked[1]}]"])


def test_it_is_not_asked_when_the_server_is_told_not_to(start_server: StartServer, tmp_path: Path) -> None:
    lines = notes_of(start_server, tmp_path, 1, options=["--disable-auto-complete-config"])
    assert [line[0] for line in lines] == ["initialize"]


def test_without_auto_complete_the_configuration_stays(
    server: TritonServer, start_server: StartServer
) -> None:
    other = start_server(options=["--disable-auto-complete-config"])
    write_model(other.start.repository, "m", COMPLETE, config(*TENSORS))
    with Client(other) as client:
        client.load("m")
        assert client.config("m")["max_batch_size"] == 0
