"""The models of docs/writing_models.md, as they stand there, on a server."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.log import texts, wait_for_lines
from serving.metrics import page
from serving.server import TritonServer
from serving.stream import Stream

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "writing_models.md"
BLOCK = re.compile(r"^```(?:python|protobuf)\n# (\S+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILES = dict(BLOCK.findall(DOCUMENT.read_text()))
MODELS = sorted({file.split("/")[1] for file in FILES if file.startswith("models/")})
SCRIPT_SECONDS = 120

Serve = Callable[..., None]


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    return {"metrics": True}


@pytest.fixture
def serve(server: TritonServer, http: Client) -> Serve:
    """Writes the models of these names as a reader does, and loads them."""

    def write_and_load(*models: str) -> None:
        for model in models:
            write(server.start.repository.parent, model)
            http.load(model)

    return write_and_load


def write(folder: Path, model: str) -> None:
    for name in (f"models/{model}/config.pbtxt", f"models/{model}/1/model.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(FILES[name])


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SCRIPT_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def floats(*numbers: float) -> dict[str, np.ndarray]:
    return {"IN": np.array(numbers, np.float32)}


def out(client: Client, model: str, *numbers: float) -> list[float]:
    return client.infer(model, floats(*numbers))["OUT"].tolist()


def n(number: int) -> dict[str, np.ndarray]:
    return {"N": np.array([number], np.int32)}


def streamed(stream: Stream, model: str, number: int) -> list[int]:
    return [one.outputs["NUMBER"].item() for one in stream.ask(model, n(number))]


def test_every_block_of_code_names_its_file_once() -> None:
    named = [name for name, _ in BLOCK.findall(DOCUMENT.read_text())]

    assert len(re.findall(r"^```(?:python|protobuf)$", DOCUMENT.read_text(), re.MULTILINE)) == len(named)
    assert len(set(named)) == len(named)


def test_every_model_of_the_document_is_asked_here() -> None:
    asked = set(re.findall(r'"(\w+)"', Path(__file__).read_text()))

    assert MODELS
    assert set(MODELS) <= asked


def test_the_smallest_model_and_its_client(serve: Serve, server: TritonServer, tmp_path: Path) -> None:
    serve("double")
    (tmp_path / "ask.py").write_text(FILES["ask.py"].replace("localhost:8000", server.http_url))

    assert run(["ask.py"], tmp_path) == "[2. 4. 6.]\n"
    assert "It prints `[2. 4. 6.]`." in DOCUMENT.read_text()


def test_a_parameter_of_the_configuration(serve: Serve, client: Client) -> None:
    serve("scale")

    assert out(client, "scale", 1, 2) == [2.5, 5.0]


def test_requests_that_are_computed_together(serve: Serve, http: Client) -> None:
    serve("classify")
    rows = np.eye(4, dtype=np.float32)
    asked = [
        http.raw.async_infer("classify", http.tensors({"FEATURES": one}))
        for one in (rows[[2]], rows[[1, 3]], rows[[0, 0, 2]])
    ]

    assert [one.get_result().as_numpy("CLASS").ravel().tolist() for one in asked] == [[2], [1, 3], [0, 0, 2]]


def test_strings(serve: Serve, client: Client) -> None:
    serve("greet")
    names = np.array(["Ada", "Jürgen"], dtype=object)

    greetings = client.infer("greet", {"NAME": names})["GREETING"]
    assert [one.decode() for one in greetings] == ["Hello, Ada!", "Hello, Jürgen!"]


def test_an_error_and_its_code(serve: Serve, client: Client) -> None:
    serve("square_root")

    assert out(client, "square_root", 4, 9) == [2, 3]
    error = client.failure("square_root", floats(4, -9))
    assert error.message() == "IN has negative numbers"
    assert str(error.status()) == {"http": "400", "grpc": "StatusCode.INVALID_ARGUMENT"}[client.protocol]


def test_any_number_of_responses(serve: Serve, stream: Stream) -> None:
    serve("count")

    assert streamed(stream, "count", 4) == [0, 1, 2, 3]
    assert streamed(stream, "count", 0) == []


def test_an_answer_from_a_pool(serve: Serve, client: Client) -> None:
    serve("later")

    assert out(client, "later", 1, 2, 3) == [-1, 0, 1]
    assert client.error("later", floats()) == "IN is empty"


def test_a_request_that_is_forgotten(serve: Serve, client: Client) -> None:
    serve("forgetful")
    (told,) = re.findall(r"Its clients get `([^`]+)`", DOCUMENT.read_text())

    assert client.error("forgetful", floats(1)).endswith(told)


def test_a_client_that_goes_away(serve: Serve, server: TritonServer, stream: Stream) -> None:
    serve("count_slowly")
    assert streamed(stream, "count_slowly", 3) == [0, 1, 2]

    with Stream(server) as other:
        other.send("count_slowly", n(1_000_000))
        other.next()
        other.close(cancel=True)
    wait_for_lines(server, "model.py", until=lambda lines: "count_slowly: stopped early" in texts(lines))


def test_a_call(serve: Serve, client: Client) -> None:
    serve("double", "quadruple")

    assert out(client, "quadruple", 1, 2) == [4, 8]


def test_a_call_of_a_model_that_is_not_there(serve: Serve, http: Client) -> None:
    serve("quadruple")

    assert "Model 'double' is not ready." in http.error("quadruple", floats(1))


def test_a_call_of_a_model_that_streams(serve: Serve, client: Client) -> None:
    serve("count", "total")

    assert client.infer("total", n(5))["TOTAL"].tolist() == [10]
    assert client.infer("total", n(0))["TOTAL"].tolist() == [0]


def test_calls_from_a_coroutine(serve: Serve, client: Client) -> None:
    serve("double", "square_root", "both")

    answer = client.infer("both", floats(4, 9))
    assert answer["DOUBLE"].tolist() == [8, 18]
    assert answer["ROOT"].tolist() == [2, 3]
    assert client.error("both", floats(-1)) == "IN has negative numbers"


def test_steps(serve: Serve, stream: Stream) -> None:
    serve("countdown")
    for number in range(4):
        stream.send("countdown", {"N": np.array([[number + 20]], np.int32)}, request=str(number))
    came: list[tuple[str, int]] = []
    finals = 0
    while finals < 4:
        one = stream.next()
        assert one.error is None
        finals += one.final
        if one.outputs:
            came.append((one.request, one.outputs["NUMBER"].item()))

    for number in range(4):
        assert [value for request, value in came if request == str(number)] == [*range(number + 20, -1, -1)]
    turns = sum(before[0] != after[0] for before, after in zip(came, came[1:]))
    assert turns > 3, "one request after the other, and not step by step"


def test_metrics(serve: Serve, server: TritonServer, http: Client) -> None:
    serve("measured")

    assert out(http, "measured", 1, 2, 3) == [1, 2, 3]
    (line,) = re.findall(r"then has `([^`]+)`", DOCUMENT.read_text())
    assert line in page(server).splitlines()


def test_log_lines(serve: Serve, server: TritonServer, http: Client) -> None:
    serve("talkative")

    assert out(http, "talkative") == []
    wait_for_lines(
        server,
        "model.py",
        until=lambda lines: {"version 1 is ready", "request '' is empty"} <= set(texts(lines)),
    )


def test_a_model_that_says_whether_it_is_ready(serve: Serve, http: Client, tmp_path: Path) -> None:
    serve("dependent")
    assert out(http, "dependent", 1) == [1]

    write(tmp_path, "dependent")
    spec = importlib.util.spec_from_file_location("dependent", tmp_path / "models/dependent/1/model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    model.initialize({})
    assert model.is_ready() is True


def test_an_input_that_is_kept(serve: Serve, http: Client) -> None:
    serve("previous")

    assert [out(http, "previous", number) for number in (1, 2, 3)] == [[], [1], [2]]


def test_the_test_without_a_server(tmp_path: Path) -> None:
    write(tmp_path, "double")
    (tmp_path / "test_double.py").write_text(FILES["test_double.py"])

    assert "1 passed" in run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_double.py"], tmp_path)
