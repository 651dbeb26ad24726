"""Loads that bring a configuration, or the files, of their own: parameters of the repository API's `load`."""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, write_model
from serving.server import TritonServer
from serving.types import StartServer
from tritonclient.utils import InferenceServerException

ONE = {"IN": np.array([[1]], np.int32)}
TENSORS: dict[str, Any] = {
    "input": [{"name": "IN", "data_type": "TYPE_INT32", "dims": [-1]}],
    "output": [{"name": "OUT", "data_type": "TYPE_INT32", "dims": [-1]}],
}
OF_THE_FOLDER = config({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])}, max_batch_size=2)
# Answers each request with an error: what it has been told, as JSON.
CODE = """
import json

import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        with open(NOTES, "a") as notes:
            print(config.as_dict()["max_batch_size"], file=notes)
        config.set_max_batch_size(8)
        config.set_dynamic_batching()
        return config

    def initialize(self, args):
        self.args = args

    def execute(self, requests):
        config = json.loads(self.args["model_config"])
        told = {
            "completed": [int(line) for line in open(NOTES)],
            "initialized": config["max_batch_size"],
            "greeting": config["parameters"].get("greeting", {}).get("string_value"),
            "repository": self.args["model_repository"],
            "file": __file__,
        }
        error = pb_utils.TritonError(json.dumps(told))
        return [pb_utils.InferenceResponse(error=error) for _ in requests]
"""


@pytest.fixture
def code(tmp_path: Path) -> str:
    """Of the model; notes which `max_batch_size` it was to complete, each time."""
    notes = tmp_path / "notes"
    notes.touch()
    return CODE.replace("NOTES", repr(str(notes)))


def override(max_batch_size: int, **fields: Any) -> str:
    return json.dumps({"backend": "python", "max_batch_size": max_batch_size, **TENSORS, **fields})


def greeting(text: str) -> dict[str, Any]:
    return {"parameters": {"greeting": {"string_value": text}}}


def told(client: Client, model: str) -> dict[str, Any]:
    return dict(json.loads(client.error(model, ONE)))


def test_the_configuration_of_a_load_takes_the_place_of_the_files(
    code: str, repository: Path, client: Client, http: Client, model_name: str
) -> None:
    write_model(repository, model_name, code, OF_THE_FOLDER)
    client.raw.load_model(model_name, config=override(4, **greeting("from the load")))
    heard = told(client, model_name)
    # What the model was to complete, and what it was then initialized with.
    assert (heard["completed"], heard["initialized"], heard["greeting"]) == ([4], 8, "from the load")
    shown = http.config(model_name)
    assert shown["max_batch_size"] == 8
    assert shown["parameters"]["greeting"] == {"string_value": "from the load"}
    assert "dynamic_batching" in shown


def test_it_holds_for_that_load_alone(code: str, repository: Path, http: Client, model_name: str) -> None:
    write_model(repository, model_name, code, OF_THE_FOLDER)
    seen = []
    for configuration in (override(4), None, override(1, **greeting("again"))):
        http.raw.load_model(model_name, config=configuration)
        heard = told(http, model_name)
        seen.append((heard["completed"], heard["initialized"], heard["greeting"]))
        http.unload(model_name)
    assert seen == [([4], 8, None), ([4, 2], 8, None), ([4, 2, 1], 8, "again")]


def test_it_may_replace_a_model_that_serves(
    code: str, repository: Path, http: Client, model_name: str
) -> None:
    write_model(repository, model_name, code, OF_THE_FOLDER)
    http.load(model_name)
    assert told(http, model_name)["greeting"] is None
    http.raw.load_model(model_name, config=override(3, **greeting("new")))
    assert told(http, model_name)["greeting"] == "new"


def test_the_model_may_contradict_it_as_it_may_a_file(
    code: str, repository: Path, http: Client, model_name: str
) -> None:
    write_model(repository, model_name, code, OF_THE_FOLDER)
    with pytest.raises(InferenceServerException) as failure:
        http.raw.load_model(model_name, config=override(9))
    assert (
        "ValueError: configuration specified max_batch_size 9, but in auto-complete-config function "
        f"for model '{model_name}' specified max_batch_size 8"
    ) in str(failure.value.message())


def test_a_load_may_bring_the_files(
    code: str, server: TritonServer, repository: Path, client: Client, model_name: str
) -> None:
    """Core puts them into a folder of its own, for as long as the model is loaded."""
    write_model(repository, model_name, "raise ValueError('not this one')", OF_THE_FOLDER)
    files = {
        "file:1/model.py": (code + "\nfrom . import beside\n").encode(),
        "file:1/beside.py": b"",
    }
    if client.protocol == "grpc":
        client.raw.load_model(model_name, config=override(4), files=files)
    else:  # tritonclient's function fails: it puts bytes into JSON
        _load_over_http(server, model_name, override(4), files)
    heard = told(client, model_name)
    assert heard["completed"] == [4]
    assert not heard["repository"].startswith(str(repository))
    assert heard["file"] == f"{heard['repository']}/1/model.py"


def _load_over_http(server: TritonServer, model: str, configuration: str, files: dict[str, bytes]) -> None:
    contents = {path: base64.b64encode(content).decode() for path, content in files.items()}
    body = json.dumps({"parameters": {"config": configuration, **contents}}).encode()
    url = f"http://{server.http_url}/v2/repository/models/{model}/load"
    with urllib.request.urlopen(url, data=body, timeout=60) as answer:
        assert answer.status == 200


def test_without_auto_completion_it_is_taken_as_it_is(code: str, start_server: StartServer) -> None:
    server = start_server(options=["--disable-auto-complete-config"])
    write_model(server.start.repository, "m", code, OF_THE_FOLDER)
    with Client(server) as client:
        client.raw.load_model("m", config=override(5, **greeting("as it is")))
        heard = told(client, "m")
        assert (heard["completed"], heard["initialized"], heard["greeting"]) == ([], 5, "as it is")
        shown = client.config("m")
        assert shown["max_batch_size"] == 5
        assert "dynamic_batching" not in shown
