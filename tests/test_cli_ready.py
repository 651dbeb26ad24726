"""`triton-python serve` with the real server: what it says when it is ready, why it fails, how it stops."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http
from command import Ports, child_of, complaint, run, serving, stand_in_server, wait_for_line

from triton_python._explain import Explanation
from triton_python._log import LogCopy, Readiness
from triton_python._options import endpoints

READY = "triton-python:   metrics"  # the last line of the announcement
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

# Follows no polite request; only SIGKILL ends it.
STUBBORN = f"""#!{sys.executable} -ISE
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.stderr.write("up\\n")
sys.stderr.flush()
while True:
    signal.pause()
"""
# Says what a server says that finds its port taken after it has loaded its models.
LATE = """#!/bin/sh
echo "E1120 12:35:42.628 1 main.cc:341] \\"failed to start HTTP service: Unavailable - Socket '127.0.0.1:1' \
already in use \\"" >&2
exit 1
"""
BROKEN = {
    "raises": "raise RuntimeError('my \"own\" words')",
    "unconfigured": "class TritonPythonModel:\n    pass\n",
}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, triton_server_binary: Path) -> None:
    """The folders composed here are of no use to anybody; the server is the one of the session."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TRITON_SERVER", str(triton_server_binary))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Without a model: the server is quick to start and to stop. To be served with `EMPTY`."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


EMPTY = "--model-control-mode=explicit"


def write_model(folder: Path, source: str, config: str | None = None) -> Path:
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(source)
    if config is not None:
        (folder / "config.pbtxt").write_text(config)
    return folder


def ask_add_sub(port: int, model: str = "add_sub") -> list[float]:
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{port}")
    inputs = [tritonclient.http.InferInput(name, [4], "FP32") for name in ("INPUT0", "INPUT1")]
    for tensor, value in zip(inputs, (3, 1)):
        tensor.set_data_from_numpy(np.full(4, value, np.float32))
    try:
        answer = client.infer(model, inputs)
        return [float(answer.as_numpy(name)[0]) for name in ("OUTPUT0", "OUTPUT1")]
    finally:
        client.close()


# --- ready ---


def test_a_bare_model_is_served_where_the_announcement_says() -> None:
    """A folder with model.py and config.pbtxt side by side, as people write it first."""
    ports = Ports()
    with serving("triton-python: ready: ", str(EXAMPLES / "add_sub"), *ports.options()) as process:
        seen = wait_for_line(process, READY)

        assert [line.removeprefix("triton-python:").split() for line in seen] == [
            ["HTTP", f"http://127.0.0.1:{ports.of['http']}"],
            ["gRPC", f"127.0.0.1:{ports.of['grpc']}"],
            ["metrics", f"http://127.0.0.1:{ports.of['metrics']}/metrics"],
        ]
        assert ask_add_sub(ports.of["http"]) == [4, 2]
        with urllib.request.urlopen(seen[-1].split()[-1]) as metrics:
            assert b"nv_inference_count" in metrics.read()
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 0


def test_the_announcement_names_the_models_that_are_served_and_those_that_are_not(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_model(models / "raises", BROKEN["raises"])
    for name in ("one", "two"):
        config = (EXAMPLES / "add_sub" / "config.pbtxt").read_text().replace("add_sub", name)
        write_model(models / name, (EXAMPLES / "add_sub" / "model.py").read_text(), config)
    options = [*Ports().options(), "--exit-on-error=false", "--allow-grpc=false"]

    with serving("triton-python: ready: ", str(models), *options) as process:
        seen = wait_for_line(process, READY)

    assert seen[0] == 'triton-python:   not loaded: raises: Internal: RuntimeError: my "own" words'
    assert not any("gRPC" in line for line in seen)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "ready: no model is loaded yet"),
        (["a"], "ready: 1 model: a"),
        (["a", "b"], "ready: 2 models: a, b"),
        (list("abcdefghij"), "ready: 10 models: a, b, c, d, e, f, g, h and 2 more"),
    ],
)
def test_the_announcement_counts_models(names: list[str], told: str) -> None:
    readiness = Readiness(endpoints(["--allow-grpc=0", "--allow-metrics=false"]))
    table = ["+---+", "| Model | Version | Status |", *(f"| {name} | 1 | READY |" for name in names), "+--+"]

    for line in table:
        assert not readiness.take(line)

    assert readiness.take('I1 http_server.cc:1] "Started HTTPService at 0.0.0.0:8000"')
    assert readiness.announcement([]) == [
        told,
        "  HTTP    http://localhost:8000 (on every address of this machine)",
    ]


def test_the_announcement_waits_until_the_ports_take_connections(capfd: pytest.CaptureFixture[str]) -> None:
    """The server says "Started HTTPService" before it listens."""
    source, log = os.pipe()
    with socket.socket() as port, os.fdopen(log, "w") as server:
        port.bind(("127.0.0.1", 0))
        LogCopy(source, endpoints(["--allow-grpc=0", "--allow-metrics=false"]))
        server.write(f'I1 http_server.cc:1] "Started HTTPService at 127.0.0.1:{port.getsockname()[1]}"\n')
        server.flush()
        told = ""
        while "Started" not in told:
            told += capfd.readouterr().err
        time.sleep(0.2)
        assert "ready" not in capfd.readouterr().err

        port.listen()
        told = ""
        while "HTTP  " not in told:
            told += capfd.readouterr().err
        assert "triton-python: ready: no model is loaded yet" in told


# --- failing ---


def test_models_that_do_not_load_are_named_with_their_reasons(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name, source in BROKEN.items():
        write_model(models / name, source)
    write_model(models / "misnamed", "", 'name: "other"')

    sentence = complaint(run("serve", str(models), *Ports().options()))

    assert "not every model could be loaded" in sentence
    assert "'raises': Internal: RuntimeError: my \"own\" words" in sentence
    assert "'unconfigured': Not found: model configuration is not provided" in sentence
    assert "(write its config.pbtxt, or auto_complete_config in its model.py)" in sentence
    assert "'misnamed': unexpected directory name 'misnamed' for model 'other'" in sentence
    assert "with --exit-on-error=false the server serves the others" in sentence


def test_many_models_that_do_not_load_are_counted() -> None:
    explanation = Explanation()

    for number in range(7):
        explanation.take(f"E1 x.cc:1] failed to load 'm{number}' version 1: Internal: no")
    explanation.take("error: creating server: Internal - failed to load all models")

    assert "'m4': Internal: no; and 2 more)" in str(explanation.reason)


def test_serve_names_the_option_that_the_server_does_not_know(repository: Path) -> None:
    sentence = complaint(run("serve", str(repository), EMPTY, *Ports().options(), "--bogus=1"))

    assert (
        "the server does not know the option --bogus=1: `triton-python serve REPOSITORY -- --help`"
        in sentence
    )


def test_a_port_that_is_taken_while_models_load_is_told(repository: Path, tmp_path: Path) -> None:
    server = stand_in_server(tmp_path, LATE)

    sentence = complaint(run("serve", str(repository), EMPTY, *Ports().options(), "--server", str(server)))

    assert "the address 127.0.0.1:1 is already in use: stop the program that listens there" in sentence
    assert "or choose another port with --http-port" in sentence


# --- stopping ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_cleanly(repository: Path, number: signal.Signals) -> None:
    with serving(READY, str(repository), EMPTY, *Ports().options()) as process:
        server = child_of(process)

        process.send_signal(number)
        _, log = process.communicate()

    assert process.returncode == 0
    assert "stopping the server" in log
    assert "All models are stopped, unloading models" in log
    assert not Path(f"/proc/{server}").exists()


def test_a_second_ctrl_c_kills_the_server(tmp_path: Path, repository: Path) -> None:
    server_binary = stand_in_server(tmp_path, STUBBORN)
    with serving("up", str(repository), EMPTY, *Ports().options(), f"--server={server_binary}") as process:
        server = child_of(process)
        process.send_signal(signal.SIGINT)
        wait_for_line(process, "stopping the server (Ctrl-C again kills it)")

        process.send_signal(signal.SIGINT)
        process.communicate()

    assert process.returncode == 128 + signal.SIGKILL
    assert not Path(f"/proc/{server}").exists()


def test_a_repeated_sigterm_does_not_kill_the_server(tmp_path: Path, repository: Path) -> None:
    server_binary = stand_in_server(tmp_path, STUBBORN)
    with serving("up", str(repository), EMPTY, *Ports().options(), f"--server={server_binary}") as process:
        process.send_signal(signal.SIGTERM)
        wait_for_line(process, "stopping the server")
        process.send_signal(signal.SIGTERM)

        process.send_signal(signal.SIGINT)
        _, log = process.communicate()

    assert log.count("killing the server") == 1
    assert process.returncode == 128 + signal.SIGKILL


def test_the_server_ends_with_a_killed_command(repository: Path) -> None:
    with serving(READY, str(repository), EMPTY, *Ports().options()) as process:
        server = os.pidfd_open(child_of(process))
        try:
            process.kill()

            # Readable once the server has ended; a server that stays runs into the watchdog.
            select.select([server], [], [])
        finally:
            os.close(server)
