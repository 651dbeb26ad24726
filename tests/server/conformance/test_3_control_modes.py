"""Model control: what is loaded at the start, by a client, or because the repository has changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, write_model
from serving.types import StartServer
from serving.waiting import wait_until
from tritonclient.utils import InferenceServerException

ONE = {"IN": np.array([1], np.int32)}
# After a load that failed a core of Triton 2.51 waits at its end for a model that is not there.
HURRIED = ["--exit-timeout-secs=1"]
POLL = ["--model-control-mode=poll", "--repository-poll-secs=1"]
CONFIG = config({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})


def adding(number: int) -> str:
    return f"""
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        arrays = [request.inputs()[0].as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array + {number})]) for array in arrays]
"""


def answer(client: Client, model: str) -> int | str:
    """OUT for 1, or how it failed."""
    try:
        return int(client.infer(model, ONE)["OUT"][0])
    except InferenceServerException as error:
        return str(error.message())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_without_control_everything_is_loaded_and_stays(start_server: StartServer, repository: Path) -> None:
    for number in (10, 20):
        write_model(repository, f"plus{number}", adding(number), CONFIG)
    server = start_server(repository=repository, explicit=False)
    with Client(server) as client:
        assert [answer(client, f"plus{number}") for number in (10, 20)] == [11, 21]
        with pytest.raises(InferenceServerException, match="explicit model load / unload is not allowed"):
            client.load("plus10")
        write_model(repository, "plus10", adding(30), CONFIG)
        assert answer(client, "plus10") == 11


def test_explicit_control_loads_what_the_command_line_names(
    start_server: StartServer, repository: Path
) -> None:
    for number in (10, 20, 30):
        write_model(repository, f"plus{number}", adding(number), CONFIG)
    server = start_server(repository=repository, options=["--load-model=plus10", "--load-model=plus30"])
    with Client(server) as client:
        states = [client.state(f"plus{number}") for number in (10, 20, 30)]
        assert states == ["READY", "", "READY"]


def test_explicit_control_loads_all_when_asked(start_server: StartServer, repository: Path) -> None:
    for number in (10, 20):
        write_model(repository, f"plus{number}", adding(number), CONFIG)
    server = start_server(repository=repository, options=["--load-model=*"])
    with Client(server) as client:
        assert [answer(client, f"plus{number}") for number in (10, 20)] == [11, 21]


def test_a_load_of_a_loaded_model_takes_its_changes(start_server: StartServer, repository: Path) -> None:
    write_model(repository, "plus", adding(10), CONFIG)
    server = start_server(repository=repository)
    with Client(server) as client:
        client.load("plus")
        assert answer(client, "plus") == 11
        write_model(repository, "plus", adding(20), CONFIG)
        assert answer(client, "plus") == 11
        server.settle()
        client.load("plus")
        assert answer(client, "plus") == 21


def test_a_load_that_fails_leaves_the_model_that_serves(start_server: StartServer, repository: Path) -> None:
    write_model(repository, "plus", adding(10), CONFIG)
    server = start_server(repository=repository, options=HURRIED)
    with Client(server) as client:
        client.load("plus")
        write_model(repository, "plus", "raise ValueError('not yet')", CONFIG)
        assert "ValueError: not yet" in client.load_error("plus")
        assert answer(client, "plus") == 11


def test_polling_follows_the_repository(start_server: StartServer, repository: Path) -> None:
    write_model(repository, "plus10", adding(10), CONFIG)
    server = start_server(repository=repository, explicit=False, options=POLL)
    with Client(server) as client:
        assert answer(client, "plus10") == 11

        write_model(repository, "plus20", adding(20), CONFIG)
        wait_until("a model that is new", lambda: answer(client, "plus20") == 21)

        write_model(repository, "plus10", adding(30), CONFIG)
        wait_until("a model that is changed", lambda: answer(client, "plus10") == 31)

        server.settle()
        shutil.rmtree(repository / "plus20")
        wait_until("a model that is gone", lambda: not client.state("plus20").startswith("READY"))
        wait_until("its process to end", lambda: len(server.stubs()) == 1)
        assert answer(client, "plus10") == 31


def test_polling_takes_a_model_again_once_it_is_mended(start_server: StartServer, repository: Path) -> None:
    write_model(repository, "plus", adding(10), CONFIG)
    server = start_server(repository=repository, explicit=False, options=[*POLL, *HURRIED])
    with Client(server) as client:
        write_model(repository, "plus", "raise ValueError('not yet')", CONFIG)
        wait_until("the load to fail", lambda: "ValueError: not yet" in server.log())
        assert answer(client, "plus") == 11
        write_model(repository, "plus", adding(20), CONFIG)
        wait_until("the mended model", lambda: answer(client, "plus") == 21)
