"""Several versions of a model: which are served, and that each is itself."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, write_model
from serving.server import TritonServer
from tritonclient.utils import InferenceServerException

ONE = {"IN": np.array([1], np.int32)}
TELLING = """
import json
import os

import numpy as np
import triton_python_backend_utils as pb_utils

from . import beside


class TritonPythonModel:
    def initialize(self, args):
        self.args = args

    def execute(self, requests):
        told = [__name__, beside.WORD, self.args["model_version"], pb_utils.get_model_dir(), os.getpid()]
        answer = np.array([json.dumps(told)], np.object_)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("ANSWER", answer)]) for _ in requests]
"""


def write_versions(repository: Path, name: str, policy: str, *versions: int) -> Path:
    text = config({"IN": ("INT32", [-1])}, {"ANSWER": ("STRING", [1])}, more=policy)
    for version in versions:
        folder = write_model(repository, name, TELLING, text, version=version)
        (folder / str(version) / "beside.py").write_text(f"WORD = 'of {version}'")
    return repository / name


def told(client: Client, model: str, version: str = "") -> list[object]:
    return list(json.loads(client.infer(model, ONE, model_version=version)["ANSWER"].item()))


def served(client: Client, model: str, *versions: int) -> list[int]:
    found = []
    for version in versions:
        with suppress(InferenceServerException):
            told(client, model, str(version))
            found.append(version)
    return found


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", [10]),
        ("version_policy { latest { num_versions: 2 } }", [3, 10]),
        ("version_policy { specific { versions: [ 1, 3 ] } }", [1, 3]),
        ("version_policy { all { } }", [1, 3, 10]),
    ],
    ids=["default", "latest", "specific", "all"],
)
def test_the_policy_says_which_are_served(
    repository: Path, http: Client, server: TritonServer, model_name: str, policy: str, expected: list[int]
) -> None:
    write_versions(repository, model_name, policy, 1, 3, 10)
    http.load(model_name)
    assert served(http, model_name, 1, 3, 10) == expected
    assert len(server.stubs()) == len(expected)
    assert told(http, model_name)[2] == str(expected[-1])  # without a number: the latest


def test_each_version_is_itself(repository: Path, client: Client, http: Client, model_name: str) -> None:
    """Its own process, module name, modules beside it, and folder."""
    folder = write_versions(repository, model_name, "version_policy { all { } }", 1, 2)
    http.load(model_name)
    seen = {version: told(client, model_name, version) for version in ("1", "2")}
    for version, heard in seen.items():
        assert heard[:4] == [f"{version}.model", f"of {version}", version, f"{folder}/{version}"]
    assert seen["1"][4] != seen["2"][4]


# Now and then 2.51 waits there for ever: it waits for any process instead of the one that failed.
@pytest.mark.newer("25.08", run=False)
def test_a_version_that_fails_leaves_the_others(repository: Path, http: Client, model_name: str) -> None:
    folder = write_versions(repository, model_name, "version_policy { all { } }", 1, 2)
    (folder / "2" / "beside.py").write_text("raise ValueError('not this one')")
    error = http.load_error(model_name)
    assert "version 2 is at UNAVAILABLE state: Internal: ValueError: not this one" in error
    (folder / "2" / "beside.py").write_text("WORD = 'mended'")
    http.load(model_name)
    assert [told(http, model_name, version)[1] for version in ("1", "2")] == ["of 1", "mended"]


def test_another_policy_changes_what_is_served(
    repository: Path, http: Client, server: TritonServer, model_name: str
) -> None:
    """Loaded again: what stays goes on, what is new begins, and the rest ends."""
    write_versions(repository, model_name, "version_policy { specific { versions: [ 1, 2 ] } }", 1, 2, 3)
    http.load(model_name)
    assert served(http, model_name, 1, 2, 3) == [1, 2]
    write_versions(repository, model_name, "version_policy { specific { versions: [ 2, 3 ] } }", 1, 2, 3)
    server.settle()
    http.load(model_name)
    assert served(http, model_name, 1, 2, 3) == [2, 3]


def test_the_file_of_the_model_may_have_another_name(
    repository: Path, client: Client, http: Client, model_name: str
) -> None:
    folder = write_versions(repository, model_name, 'default_model_filename: "main.py"', 4)
    (folder / "4" / "model.py").rename(folder / "4" / "main.py")
    http.load(model_name)
    assert told(client, model_name)[0] == "4.main"
