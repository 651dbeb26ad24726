"""The load generator of the benchmarks: right answers pass, wrong ones count, nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving.processes import TOKEN, stubs
from serving.repository import config, identity_config, model_code, write_model
from serving.waiting import wait_until

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "benchmarks"))

from comparison.backends import server_library

ROOT = Path(__file__).resolve().parent.parent.parent
BUILT = ROOT / "build" / "dev" / "benchmarks"
MB = 1024 * 1024
ADD_SUB_CONFIG = config(
    {"INPUT0": ("FP32", [-1]), "INPUT1": ("FP32", [-1])},
    {"OUTPUT0": ("FP32", [-1]), "OUTPUT1": ("FP32", [-1])},
)
CONFIGS = {
    "identity": identity_config(),
    "strings": identity_config("STRING"),
    "add_sub": ADD_SUB_CONFIG,
}

Generate = Callable[..., "subprocess.CompletedProcess[str]"]
Command = Callable[..., "list[str]"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Not the module's server's: here the generator is the server."""
    return tmp_path / "models"


@pytest.fixture
def token() -> str:
    """By which the processes of one generator are known."""
    return uuid.uuid4().hex


@pytest.fixture
def command(repository: Path, backend_dir: Path) -> Command:
    """The generator's command line: with Python models, or with the backend that only copies."""
    if not (BUILT / "generator").is_file():
        pytest.fail(f"there is no {BUILT / 'generator'}: run `make test`, which builds it")

    def compose(model: str, *options: str, floor: bool = False) -> list[str]:
        backends = BUILT / "backends" if floor else backend_dir
        settings = () if floor else (f"--backend-config=python,python-executable={sys.executable}",)
        return [
            str(BUILT / "generator"),
            f"--server-library={server_library()}",
            f"--model-repository={repository}",
            f"--backend-directory={backends}",
            f"--model={model}",
            "--auto-complete-config=no",
            *settings,
            *options,
        ]

    return compose


@pytest.fixture
def environment(token: str) -> dict[str, str]:
    return {**os.environ, "LD_LIBRARY_PATH": str(server_library().parent), TOKEN: token}


@pytest.fixture
def generate(command: Command, environment: dict[str, str], token: str, tmp_path: Path) -> Generate:
    def run(model: str, *options: str, floor: bool = False) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            command(model, *options, floor=floor),
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not stubs(token)
        return result

    return run


def report(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def requests(count: int) -> list[str]:
    """One request to warm up and `count` that are measured, each of them checked in every byte."""
    return ["--warm-up-requests=1", f"--requests={count}", "--seconds=60", "--whole-every=1"]


def model(body: str) -> str:
    """A model whose `answer(self, inputs)` gives the outputs by name."""
    return f"""
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.calls = 0
        self.last = None

    def execute(self, requests):
        responses = []
        for request in requests:
            self.calls += 1
            inputs = {{one.name(): one.as_numpy() for one in request.inputs()}}
            outputs = self.answer(inputs)
            tensors = [pb_utils.Tensor(name, array) for name, array in outputs.items()]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses

    def answer(self, inputs):
{body}
"""


@pytest.mark.parametrize("clients", [1, 8])
@pytest.mark.parametrize(
    ("payload", "size"),
    [("identity", 64), ("identity", 4100), ("identity", MB), ("add_sub", MB), ("strings", 16000)],
)
def test_the_floor_answers_rightly(
    generate: Generate, repository: Path, payload: str, size: int, clients: int
) -> None:
    write_model(repository, payload, "", CONFIGS[payload].replace('"python"', '"floor"'))

    result = generate(
        payload,
        f"--payload={payload}",
        f"--size={size}",
        f"--clients={clients}",
        "--warm-up-requests=20",
        "--requests=200",
        "--seconds=60",
        floor=True,
    )

    found = report(result)
    assert found["wrong"] == 0, found["first_difference"]
    assert found["warm_up_requests"] >= 20
    assert found["requests"] >= 200
    assert found["checked_whole"] >= 2 * clients
    assert 0 < found["p50_us"] <= found["p90_us"] <= found["p99_us"]
    assert found["throughput"] == pytest.approx(found["requests"] / found["seconds"])


@pytest.mark.parametrize("payload", ["identity", "add_sub"])
def test_a_python_model_answers_rightly(generate: Generate, repository: Path, payload: str) -> None:
    write_model(
        repository, payload, (ROOT / "benchmarks/models" / f"{payload}.py").read_text(), CONFIGS[payload]
    )

    result = generate(payload, f"--payload={payload}", f"--size={MB}", "--clients=4", *requests(20))

    found = report(result)
    assert found["wrong"] == 0, found["first_difference"]
    assert found["cpu_us"] > 0
    assert found["load_ms"] > 0


WRONG_IDENTITY = [
    ("        return {'OUT': -inputs['IN']}", "OUT: differs at byte 0"),
    (
        "        inputs['IN'].view(np.uint8)[-1] ^= 1; return {'OUT': inputs['IN']}",
        "OUT: differs at byte 8188",
    ),
    (
        "        inputs['IN'].view(np.uint8)[5001] ^= 1; return {'OUT': inputs['IN']}",
        "OUT: differs at byte 5000",
    ),
    ("        return {'OUT': np.zeros_like(inputs['IN'])}", "OUT: differs at byte 0"),
    ("        return {'OUT': inputs['IN'].reshape(2, -1)}", "OUT: another shape than expected"),
    ("        return {'OUT': inputs['IN'][:-1]}", "OUT: another shape than expected"),
    ("        return {'OUT': inputs['IN'].view(np.int32)}", "OUT: data type 8, expected 11"),
    ("        return {}", "0 outputs, expected 1"),
]


@pytest.mark.parametrize(("body", "difference"), WRONG_IDENTITY)
def test_every_wrong_answer_is_counted(
    generate: Generate, repository: Path, body: str, difference: str
) -> None:
    write_model(repository, "identity", model(body), CONFIGS["identity"])

    found = report(generate("identity", "--size=8192", *requests(5)))

    assert found["requests"] == 5
    assert found["wrong"] == found["requests"] + found["warm_up_requests"] == 6
    assert found["first_difference"] == difference


@pytest.mark.parametrize(
    ("body", "difference"),
    [
        ("        return {'OUTPUT0': a + b, 'OUTPUT1': b - a}", "OUTPUT1: differs at byte 0"),
        ("        return {'OUTPUT0': a - b, 'OUTPUT1': a + b}", "OUTPUT0: differs at byte 0"),
        ("        return {'OUTPUT1': a - b}", "1 outputs, expected 2"),
    ],
)
def test_every_wrong_sum_is_counted(generate: Generate, repository: Path, body: str, difference: str) -> None:
    take = "        a, b = inputs['INPUT0'], inputs['INPUT1']\n"
    write_model(repository, "add_sub", model(take + body), CONFIGS["add_sub"])

    found = report(generate("add_sub", "--payload=add_sub", *requests(5)))

    assert found["wrong"] == 6
    assert found["first_difference"] == difference


def test_one_wrong_answer_among_many_is_counted(generate: Generate, repository: Path) -> None:
    body = "        return {'OUT': inputs['IN'] * (2 if self.calls == 7 else 1)}"
    write_model(repository, "identity", model(body), CONFIGS["identity"])

    found = report(generate("identity", *requests(20)))

    assert found["wrong"] == 1


@pytest.mark.parametrize("whole_every", [1, 1000])
def test_the_answer_to_another_request_is_wrong(
    generate: Generate, repository: Path, whole_every: int
) -> None:
    body = "        mine, self.last = self.last, inputs['IN'].copy()\n"
    body += "        return {'OUT': self.last if mine is None else mine}"
    write_model(repository, "identity", model(body), CONFIGS["identity"])

    found = report(generate("identity", f"--size={MB}", *requests(5)[:-1], f"--whole-every={whole_every}"))

    # The first answer has nothing to be mistaken for.
    assert found["wrong"] == 5


def test_a_large_answer_that_is_wrong_between_the_probes_is_found_by_the_whole_checks(
    generate: Generate, repository: Path
) -> None:
    body = "        inputs['IN'].view(np.uint8)[5001] ^= 1; return {'OUT': inputs['IN']}"
    write_model(repository, "identity", model(body), CONFIGS["identity"])

    found = report(generate("identity", f"--size={MB}", *requests(10)[:-1], "--whole-every=5"))

    assert found["checked_whole"] == 1 + 2
    assert found["wrong"] == found["checked_whole"]


def test_an_error_for_an_answer_ends_the_run_with_its_code(generate: Generate, repository: Path) -> None:
    code = model("        raise pb_utils.TritonModelException('no \"thanks\"')")
    write_model(repository, "identity", code, CONFIGS["identity"])

    result = generate("identity")

    found = json.loads(result.stdout)
    assert result.returncode == 1
    assert found["code"] == "Internal"
    assert 'no "thanks"' in found["error"]


def test_a_model_that_does_not_load_ends_the_run(generate: Generate, repository: Path) -> None:
    write_model(repository, "identity", "raise RuntimeError('not today')", CONFIGS["identity"])

    result = generate("identity")

    assert result.returncode == 1
    assert "not today" in json.loads(result.stdout)["error"]


@pytest.mark.parametrize(("auto_complete", "completions"), [("yes", 3), ("no", 0)])
def test_loads_are_timed_one_by_one(
    generate: Generate, repository: Path, tmp_path: Path, auto_complete: str, completions: int
) -> None:
    notes = tmp_path / "notes"
    code = (
        model_code("identity")
        + f"""
    @staticmethod
    def auto_complete_config(config):
        open({str(notes)!r}, "a").write("c")
        return config

    def initialize(self, args):
        open({str(notes)!r}, "a").write("i")

    def finalize(self):
        open({str(notes)!r}, "a").write("f")
"""
    )
    write_model(repository, "identity", code, CONFIGS["identity"])

    found = report(generate("identity", "--loads=3", f"--auto-complete-config={auto_complete}"))

    assert len(found["loads_ms"]) == found["checked_whole"] == 3
    assert all(milliseconds > 0 for milliseconds in found["loads_ms"])
    assert found["wrong"] == 0
    assert notes.read_text() == ("cif" if completions else "if") * 3


def test_what_a_model_prints_is_not_in_the_report(generate: Generate, repository: Path) -> None:
    body = "        print('{', flush=True); return {'OUT': inputs['IN']}"
    write_model(repository, "identity", model(body), CONFIGS["identity"])

    result = generate("identity", *requests(3))

    assert report(result)["wrong"] == 0
    assert "{\n" not in result.stdout.removeprefix("{\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_in_order(
    command: Command,
    environment: dict[str, str],
    repository: Path,
    token: str,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    finalized, asked = tmp_path / "finalized", tmp_path / "asked"
    body = f"        open({str(asked)!r}, 'w').close(); return {{'OUT': inputs['IN']}}"
    code = model(body) + f"\n    def finalize(self):\n        open({str(finalized)!r}, 'w').close()\n"
    write_model(repository, "identity", code, CONFIGS["identity"])
    with subprocess.Popen(
        command("identity", "--seconds=3600", "--requests=1000000000"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        wait_until("a request", asked.exists)

        process.send_signal(number)

        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "stopped by a signal" in json.loads(output)["error"]
    assert finalized.exists()
    assert not stubs(token)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--size=10"], "a size of 10 bytes: expected a multiple of 4"),
        (["--payload=images"], "--payload=images: expected one of add_sub, identity, strings"),
        (["--clients=0"], "--clients above 0 is needed"),
        (["--clients=two"], "--clients=two: expected a number that is not negative"),
        (["--backend-config=python"], "--backend-config=python: expected BACKEND,KEY=VALUE"),
        (["--clinets=2"], "'--clinets=2' is no --name=value that the generator knows"),
        (["--model="], "--model is needed"),
    ],
)
def test_wrong_usage_is_refused_with_a_sentence(
    generate: Generate, repository: Path, options: list[str], sentence: str
) -> None:
    write_model(repository, "identity", "", CONFIGS["identity"].replace('"python"', '"floor"'))

    result = generate("identity", *options, floor=True)

    assert result.returncode == 2
    assert sentence in result.stderr
