"""Backends that are a folder with a model.py: their models bring a configuration and files, and no code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.contender import Contender
from serving.environments import make_venv, pack
from serving.repository import config, instance_group, model_code, parameters, write_model
from serving.types import StartServer

ONE = {"IN": np.array([1], np.int32)}
# Tells how it was imported, and what it was told.
TELLING = """
import json
import os
import sys

import numpy as np
import triton_python_backend_utils as pb_utils
from utils.parts import WORD

class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "IN", "data_type": "TYPE_INT32", "dims": [-1]})
        config.add_output({"name": "ANSWER", "data_type": "TYPE_STRING", "dims": [1]})
        return config

    def initialize(self, args):
        self.args = args

    def execute(self, requests):
        config = json.loads(self.args["model_config"])
        with open(os.path.join(pb_utils.get_model_dir(), "weights.json")) as weights:
            told = {
                "name": __name__,
                "file": __file__,
                "word": WORD,
                "weights": json.load(weights),
                "model_dir": pb_utils.get_model_dir(),
                "repository": self.args["model_repository"],
                "model_name": self.args["model_name"],
                "instance": self.args["model_instance_name"],
                "backend": config["backend"],
                "runtime": config["runtime"],
                "greeting": config["parameters"].get("greeting", {}).get("string_value"),
                "path": [sys.path.index(one) for one in (os.path.dirname(__file__), BACKENDS + "/python")],
                "model_on_path": self.args["model_repository"] in sys.path,
            }
        answer = np.array([json.dumps(told)], np.object_)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("ANSWER", answer)]) for _ in requests]
"""


def config_of(backend: str, *, more: str = "") -> str:
    return config(more=more).replace('"python"', f'"{backend}"')


@pytest.fixture
def backends(contender: Contender, tmp_path: Path) -> Path:
    """A folder for --backend-directory that a test may add to."""
    return contender.copy(tmp_path / "backends")


def write_backend(backends: Path, name: str, code: str) -> Path:
    """The shape of NVIDIA's vLLM backend: a model.py, and a folder `utils` that it imports from."""
    folder = backends / name
    (folder / "utils").mkdir(parents=True)
    (folder / "model.py").write_text(code.replace("BACKENDS", repr(str(backends))))
    (folder / "utils" / "__init__.py").write_text("")
    (folder / "utils" / "parts.py").write_text("WORD = 'of the backend'")
    return folder


def write_user(repository: Path, name: str, text: str, weights: object, version: int = 1) -> Path:
    """A model that has files, and no model.py."""
    folder = write_model(repository, name, None, text, version=version)
    (folder / str(version) / "weights.json").write_text(json.dumps(weights))
    return folder


def told(client: Client, model: str, **options: object) -> dict[str, object]:
    return dict(json.loads(client.infer(model, ONE, **options)["ANSWER"].item()))


def test_a_folder_with_a_model_file_is_a_backend(start_server: StartServer, backends: Path) -> None:
    folder = write_backend(backends, "telling", TELLING)
    server = start_server(backend_dir=backends)
    repository = server.start.repository
    write_user(
        repository,
        "m",
        config_of("telling", more='parameters { key: "greeting" value { string_value: "hello" } }'),
        {"a": 1},
    )
    with Client(server) as client:
        client.load("m")
        heard = told(client, "m")
    index_of_backend, index_of_python = heard.pop("path")  # type: ignore[misc]
    assert index_of_backend < index_of_python
    assert heard == {
        "name": "model",
        "file": f"{folder}/model.py",
        "word": "of the backend",
        "weights": {"a": 1},
        "model_dir": f"{repository}/m/1",
        "repository": f"{repository}/m",
        "model_name": "m",
        "instance": "m_0",
        "backend": "telling",
        "runtime": "model.py",
        "greeting": "hello",
        "model_on_path": False,
    }


def test_its_models_share_the_code_and_nothing_else(start_server: StartServer, backends: Path) -> None:
    write_backend(backends, "telling", TELLING)
    server = start_server(backend_dir=backends)
    versions = 'version_policy { all { } } parameters { key: "greeting" value { string_value: "hi" } }'
    for version in (1, 2):
        text = config_of("telling", more=f"{versions} {instance_group(2)}")
        write_user(server.start.repository, "first", text, version, version=version)
    write_user(server.start.repository, "second", config_of("telling"), "second")
    write_model(server.start.repository, "plain", model_code("identity"), config(*TENSORS))
    with Client(server) as client:
        for model in ("first", "second", "plain"):
            client.load(model)
        assert len(server.stubs()) == 6
        assert told(client, "first", model_version="1")["weights"] == 1
        assert told(client, "first", model_version="2")["weights"] == 2
        assert told(client, "second")["weights"] == "second"
        assert client.infer("plain", ONE)["OUT"].tolist() == [1]


TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})


def test_what_a_model_calls_its_file_does_not_count(start_server: StartServer, backends: Path) -> None:
    """default_model_filename is about the files of the model, and the code is the backend's."""
    write_backend(backends, "telling", TELLING)
    server = start_server(backend_dir=backends)
    more = 'default_model_filename: "weights.json"'
    write_user(server.start.repository, "m", config_of("telling", more=more), [])
    with Client(server) as client:
        client.load("m")
        assert told(client, "m")["name"] == "model"


def test_errors_of_its_code_are_those_of_the_load(start_server: StartServer, backends: Path) -> None:
    folder = write_backend(backends, "telling", "class NoModel: ...")
    server = start_server(backend_dir=backends)
    write_user(server.start.repository, "m", config_of("telling"), [])
    with Client(server) as client:
        assert "AttributeError: module 'model' has no attribute 'TritonPythonModel'" in client.load_error("m")
        (folder / "model.py").write_text("raise ValueError('while importing')")
        error = client.load_error("m")
    assert "ValueError: while importing" in error
    assert f"{folder}/model.py(1)" in error


@pytest.mark.ours
def test_the_settings_of_the_python_backend_are_its_own(start_server: StartServer, backends: Path) -> None:
    """They are given for `python`, and a mistake in them keeps it from loading."""
    write_backend(backends, "telling", TELLING)
    server = start_server(backend_dir=backends, settings={"python-executable": "/no/such/python"})
    write_user(server.start.repository, "m", config_of("telling"), [])
    with Client(server) as client:
        assert "The Python interpreter '/no/such/python'" in client.load_error("m")


@pytest.mark.differs("renamed-backend")
def test_a_folder_with_a_library_of_its_own_runs_the_files_of_its_models(
    start_server: StartServer, backends: Path
) -> None:
    """The python backend under another name: a copy of its folder."""
    shutil.copytree(backends / "python", backends / "other", symlinks=True)
    (backends / "other" / "libtriton_python.so").rename(backends / "other" / "libtriton_other.so")
    server = start_server(backend_dir=backends)
    text = config(*TENSORS).replace('"python"', '"other"')
    write_model(server.start.repository, "m", model_code("identity"), text)
    with Client(server) as client:
        client.load("m")
        assert client.infer("m", ONE)["OUT"].tolist() == [1]


# --- an environment that comes with the backend ---

# Their activation script is run, and names where it lies; ours is read off the place.
ACTIVATE = 'export VIRTUAL_ENV="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"\n'
TELLING_ITS_ENVIRONMENT = """
import os

import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "IN", "data_type": "TYPE_INT32", "dims": [-1]})
        config.add_output({"name": "OUT", "data_type": "TYPE_INT32", "dims": [-1]})
        return config

    def execute(self, requests):
        with open(os.path.join(os.environ["VIRTUAL_ENV"], "whose.txt")) as whose:
            told = pb_utils.TritonError(whose.read())
        return [pb_utils.InferenceResponse(error=told) for _ in requests]
"""


def write_environment(folder: Path, whose: str) -> Path:
    """An environment that says whose it is, for both backends."""
    make_venv(folder, copies=True)
    (folder / "bin" / "activate").write_text(ACTIVATE)
    (folder / "whose.txt").write_text(whose)
    return folder


def test_an_environment_beside_its_code_is_that_of_its_models(
    start_server: StartServer, backends: Path, tmp_path: Path
) -> None:
    """The server's core looks for the file by this name; a model that names another gets that one."""
    folder = write_backend(backends, "telling", TELLING_ITS_ENVIRONMENT)
    pack(write_environment(tmp_path / "shared", "the backend's"), folder / "pb_exec_env_model.py.tar.gz")
    own = write_environment(tmp_path / "own", "the model's")
    cache = tmp_path / "cache"
    server = start_server(backend_dir=backends, settings={"environment-cache-directory": str(cache)})
    write_user(server.start.repository, "m", config_of("telling"), [])
    text = config_of("telling", more=parameters(EXECUTION_ENV_PATH=str(own)))
    write_user(server.start.repository, "with_its_own", text, [])
    with Client(server) as client:
        client.load("m")
        assert client.error("m", ONE) == "the backend's"
        client.load("with_its_own")
        assert client.error("with_its_own", ONE) == "the model's"


# --- a stand-in with the structure of NVIDIA's vLLM backend ---

VLLM_SHAPED = """
import asyncio
import json
import os

import numpy as np
import triton_python_backend_utils as pb_utils
from utils.parts import WORD

_ARGS_FILENAME = "model.json"


class TritonPythonModel:
    @classmethod
    def auto_complete_config(cls, auto_complete_model_config):
        # May be called twice: of another model and of this one.
        inputs = [
            {"name": "text_input", "data_type": "TYPE_STRING", "dims": [1]},
            {"name": "stream", "data_type": "TYPE_BOOL", "dims": [1], "optional": True},
            {"name": "sampling_parameters", "data_type": "TYPE_STRING", "dims": [1], "optional": True},
        ]
        outputs = [{"name": "text_output", "data_type": "TYPE_STRING", "dims": [-1]}]
        config = auto_complete_model_config.as_dict()
        known = [one["name"] for one in config["input"]]
        for one in inputs:
            if one["name"] not in known:
                auto_complete_model_config.add_input(one)
        for one in outputs:
            auto_complete_model_config.add_output(one)
        auto_complete_model_config.set_max_batch_size(0)
        return auto_complete_model_config

    def initialize(self, args):
        self.args = args
        self.logger = pb_utils.Logger
        self.model_config = json.loads(args["model_config"])
        output = pb_utils.get_output_config_by_name(self.model_config, "text_output")
        self.output_dtype = pb_utils.triton_string_to_numpy(output["data_type"])
        path = os.path.join(pb_utils.get_model_dir(), _ARGS_FILENAME)
        self.logger.log_info(f"[vllm] engine arguments from {path}")
        with open(path) as file:
            self.engine_args = json.load(file)

    async def execute(self, requests):
        return [await self.generate(request) for request in requests]

    async def generate(self, request):
        await asyncio.sleep(0)
        prompt = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()[0].decode()
        sampling = pb_utils.get_input_tensor_by_name(request, "sampling_parameters")
        told = json.loads(sampling.as_numpy()[0]) if sampling else {}
        text = " ".join([prompt, WORD, self.engine_args["model"], str(told.get("temperature"))])
        output = pb_utils.Tensor("text_output", np.array([text], dtype=self.output_dtype))
        return pb_utils.InferenceResponse(output_tensors=[output])

    def finalize(self):
        self.logger.log_info("[vllm] finalize")
"""


def test_a_backend_of_the_shape_of_vllms(start_server: StartServer, backends: Path) -> None:
    """In default mode; vLLM's own is decoupled."""
    write_backend(backends, "vllm", VLLM_SHAPED)
    server = start_server(backend_dir=backends)
    folder = write_model(
        server.start.repository, "vllm_model", None, 'backend: "vllm"\n' + instance_group(kind="KIND_MODEL")
    )
    (folder / "1" / "model.json").write_text(json.dumps({"model": "facebook/opt-125m"}))
    with Client(server) as client:
        client.load("vllm_model")
        shown = client.config("vllm_model")
        assert [one["name"] for one in shown["input"]] == ["text_input", "stream", "sampling_parameters"]
        sent = {
            "text_input": np.array([b"hello"], np.object_),
            "sampling_parameters": np.array([b'{"temperature": 0.5}'], np.object_),
        }
        (got,) = client.infer("vllm_model", sent)["text_output"]
        assert got == b"hello of the backend facebook/opt-125m 0.5"
        client.unload("vllm_model")
    assert "[vllm] finalize" in server.log()
