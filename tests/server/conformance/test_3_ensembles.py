"""Ensembles whose steps are python models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, model_code, write_model

GOOD = model_code("identity")
DOUBLING = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request.inputs()[0].as_numpy()) for request in requests]

    def one(self, array):
        if array.ravel()[0] == 12:
            raise ValueError("not twelve")
        if array.ravel()[0] == 14:
            return pb_utils.InferenceResponse(
                error=pb_utils.TritonError("not fourteen", pb_utils.TritonError.INVALID_ARG)
            )
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array * 2)])
"""
TO_TEXT = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request.inputs()[0].as_numpy()) for request in requests]

    def one(self, numbers):
        texts = np.array([str(number).encode() for number in numbers], np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", texts)])
"""
FROM_TEXT = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        arrays = [np.array([int(n) for n in one.inputs()[0].as_numpy()], np.int32) for one in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)]) for array in arrays]
"""
NUMBERS = ("INT32", [-1])
TEXTS = ("STRING", [-1])


def write_ensemble(
    repository: Path, name: str, *models: str, parts: dict[str, tuple[str, list[int]]] | None = None
) -> None:
    """A chain from IN to OUT through `models`."""
    between = ["IN", *(f"between{number}" for number in range(1, len(models))), "OUT"]
    steps = [
        f"""{{ model_name: "{model}" model_version: -1
          input_map {{ key: "IN" value: "{before}" }} output_map {{ key: "OUT" value: "{after}" }}
        }}"""
        for model, before, after in zip(models, between, between[1:])
    ]
    ends = parts or {"IN": NUMBERS, "OUT": NUMBERS}
    text = config({"IN": ends["IN"]}, {"OUT": ends["OUT"]}).replace(
        'backend: "python"', 'platform: "ensemble"'
    )
    write_model(repository, name, None, f"{text}\nensemble_scheduling {{ step [ {', '.join(steps)} ] }}")


@pytest.fixture
def chain(repository: Path, http: Client, model_name: str) -> str:
    """Doubles twice."""
    write_model(repository, f"{model_name}_step", DOUBLING, config({"IN": NUMBERS}, {"OUT": NUMBERS}))
    write_ensemble(repository, model_name, f"{model_name}_step", f"{model_name}_step")
    http.load(model_name)
    return model_name


def test_an_ensemble_runs_its_steps_in_turn(chain: str, client: Client, http: Client) -> None:
    assert client.infer(chain, {"IN": np.array([3, 4], np.int32)})["OUT"].tolist() == [12, 16]
    assert http.state(f"{chain}_step") == "READY"  # loaded with it


@pytest.mark.parametrize("value", [12, 6])
def test_an_exception_in_a_step_is_the_answer(chain: str, client: Client, value: int) -> None:
    """In the first step or in the second."""
    error = client.error(chain, {"IN": np.array([value], np.int32)})
    assert f"Failed to process the request(s) for model '{chain}_step_0', message: ValueError" in error
    assert "not twelve" in error
    assert client.infer(chain, {"IN": np.array([1], np.int32)})["OUT"].tolist() == [4]


@pytest.mark.parametrize("value", [14, 7])
def test_an_error_that_a_step_returns_is_the_answer(chain: str, client: Client, value: int) -> None:
    failure = client.failure(chain, {"IN": np.array([value], np.int32)})
    assert "not fourteen" in failure.message()
    if client.protocol == "grpc":
        assert failure.status() == "StatusCode.INVALID_ARGUMENT"
    assert client.infer(chain, {"IN": np.array([1], np.int32)})["OUT"].tolist() == [4]


def test_strings_between_and_around_the_steps(
    repository: Path, client: Client, http: Client, model_name: str
) -> None:
    for name, code, ends in (
        ("to", TO_TEXT, (NUMBERS, TEXTS)),
        ("from", FROM_TEXT, (TEXTS, NUMBERS)),
        ("as", GOOD, (TEXTS, TEXTS)),
    ):
        text = config({"IN": ends[0]}, {"OUT": ends[1]})
        write_model(repository, f"{model_name}_{name}", code, text)
    steps = {name: f"{model_name}_{name}" for name in ("to", "from", "as")}
    write_ensemble(repository, f"{model_name}_there", steps["to"], steps["as"], steps["from"])
    write_ensemble(
        repository,
        f"{model_name}_back",
        *(steps["from"], steps["to"], steps["as"]),
        parts={"IN": TEXTS, "OUT": TEXTS},
    )
    for name in ("there", "back"):
        http.load(f"{model_name}_{name}")

    numbers = np.arange(-3000, 3000, dtype=np.int32)
    assert np.array_equal(client.infer(f"{model_name}_there", {"IN": numbers})["OUT"], numbers)
    texts = np.array([b"12", b"-7", b"0"], np.object_)
    assert client.infer(f"{model_name}_back", {"IN": texts})["OUT"].tolist() == texts.tolist()


def test_tensors_larger_than_what_an_instance_starts_with(chain: str, client: Client) -> None:
    values = np.arange(1, 2_000_000, dtype=np.int32)
    assert np.array_equal(client.infer(chain, {"IN": values})["OUT"], 4 * values)


def test_an_ensemble_does_not_load_without_its_steps(repository: Path, http: Client, model_name: str) -> None:
    write_model(
        repository, f"{model_name}_step", "raise ValueError('no')", config({"IN": NUMBERS}, {"OUT": NUMBERS})
    )
    write_ensemble(repository, model_name, f"{model_name}_step")
    assert f"ensemble '{model_name}' depends on '{model_name}_step'" in http.load_error(model_name)
