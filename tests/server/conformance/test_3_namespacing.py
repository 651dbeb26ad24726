"""Model namespacing: models of one name in two repositories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.calls import CALLER_CONFIG, ask, caller
from serving.client import Client
from serving.repository import config, write_model
from serving.server import TritonServer
from serving.types import StartServer

ONE = {"IN": np.array([1], np.int32)}
NUMBERS = ("INT32", [-1])
ADDING = """
import triton_python_backend_utils as pb_utils

from . import beside


class TritonPythonModel:
    def execute(self, requests):
        outputs = [request.inputs()[0].as_numpy() + beside.NUMBER for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", output)]) for output in outputs]
"""
CALLING = caller("""
    response = request(child, {"IN": ints(1)}).exec()
    return text_of(response) if response.has_error() else arrays(response)["OUT"].tolist()
""")


def write_ensemble(repository: Path, name: str, model: str) -> None:
    text = config({"IN": NUMBERS}, {"OUT": NUMBERS}).replace('backend: "python"', 'platform: "ensemble"')
    step = f"""ensemble_scheduling {{ step [ {{
      model_name: "{model}" model_version: -1
      input_map {{ key: "IN" value: "IN" }} output_map {{ key: "OUT" value: "OUT" }}
    }} ] }}"""
    write_model(repository, name, None, f"{text}\n{step}")


@pytest.fixture
def namespaced(start_server: StartServer, tmp_path: Path) -> TritonServer:
    """In each of two repositories: `inner`, an ensemble of it, and a model that calls it."""
    options: list[str] = ["--model-namespacing=true"]
    for folder, number in (("first", 10), ("second", 20)):
        repository = tmp_path / folder
        write_model(repository, "inner", ADDING, config({"IN": NUMBERS}, {"OUT": NUMBERS}))
        (repository / "inner" / "1" / "beside.py").write_text(f"NUMBER = {number}")
        write_ensemble(repository, f"{folder}_ensemble", "inner")
        write_model(repository, f"{folder}_caller", CALLING, CALLER_CONFIG)
        options.append(f"--model-repository={repository}")
    return start_server(repository=tmp_path / "none", explicit=False, options=options)


def test_both_are_served_to_the_ensembles_of_their_repository(namespaced: TritonServer) -> None:
    with Client(namespaced) as client:
        assert client.infer("first_ensemble", ONE)["OUT"].tolist() == [11]
        assert client.infer("second_ensemble", ONE)["OUT"].tolist() == [21]


def test_the_name_alone_is_ambiguous(namespaced: TritonServer) -> None:
    with Client(namespaced) as client:
        assert client.error("inner", ONE) == (
            "There are 2 identifiers of model 'inner' in global map, model namespace must be provided to "
            "resolve ambiguity."
        )


def test_a_call_reaches_what_one_name_names(namespaced: TritonServer) -> None:
    """Through an ensemble, what the name alone does not."""
    with Client(namespaced) as client:
        for folder, number in (("first", 11), ("second", 21)):
            answer: Any = ask(client, f"{folder}_caller", child=f"{folder}_ensemble")
            assert answer == [number]
            answer = ask(client, f"{folder}_caller", child="inner")
            assert answer.startswith("Model inner - Error when running inference: ")
