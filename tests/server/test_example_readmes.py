"""The shell blocks of the examples' READMEs, run as a reader would: lay out a repository, serve it, ask."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from serving.libraries import python_with
from serving.waiting import wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
READMES = sorted(EXAMPLES.glob("*/README.md"))
SERVE = "triton-python serve models"
CLIENT_SECONDS = 120
STOP_SECONDS = 60
# Heavy libraries that the models of examples import.
LIBRARIES = {"pytorch": "torch", "jax": "jax"}


@dataclass(frozen=True)
class Example:
    """One of a folder: what a README has readers prepare and then run, and what they are to see."""

    folder: str
    prepare: str
    ask: str
    expected: frozenset[str]

    @property
    def name(self) -> str:
        return ", ".join(sorted(self.expected))


def examples(readme: Path) -> Iterator[Example]:
    """A README may have several, each of a block that serves, one that asks, and the lines to expect."""
    parts = re.split(r"^```bash\n(.*?)^```", readme.read_text(), flags=re.DOTALL | re.MULTILINE)
    blocks, texts = parts[1::2], parts[2::2]
    assert blocks, f"{readme} has no commands"
    assert len(blocks) % 2 == 0, f"{readme} has a block that serves and none that asks"
    for prepare, ask, text in zip(blocks[::2], blocks[1::2], texts[1::2]):
        expected = frozenset(re.findall(r"`(PASS: [^`]+)`", text))
        assert expected, f"{readme} does not say what the client prints"
        yield Example(readme.parent.name, prepare, ask, expected)


def chosen() -> Iterator[Any]:
    for readme in READMES:
        for one in examples(readme):
            heavy = (
                [pytest.mark.more, pytest.mark.libraries, pytest.mark.timeout(1800)]
                if one.folder in LIBRARIES
                else []
            )
            yield pytest.param(one, id=one.name, marks=heavy)


@pytest.mark.parametrize("example", list(chosen()))
def test_what_the_readme_of_an_example_says_works(example: Example, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    if example.folder != "pytorch" and importlib.util.find_spec("torch") is None:
        # For the models that call `pytorch`: one without torch that gives the same answers.
        shutil.copy(EXAMPLES / "add_sub" / "model.py", tmp_path / "examples" / "pytorch" / "model.py")
    folder = tmp_path / "examples" / example.folder
    http, grpc, metrics = free_ports(3)
    options = f" --http-port={http} --grpc-port={grpc} --metrics-port={metrics}"
    if example.folder in LIBRARIES:
        options += f" --python={python_with(LIBRARIES[example.folder])}"
    assert example.prepare.rstrip().endswith(SERVE)

    log = tmp_path / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["bash", "-ec", example.prepare.replace(SERVE, f"exec {SERVE}{options}")],
            cwd=folder,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until("the server", lambda: server.poll() is not None or (accepts(http) and accepts(grpc)))
        assert server.poll() is None, log.read_text()
        for line in example.ask.splitlines():
            command = line.partition("#")[0].strip()
            url = f" --url 127.0.0.1:{grpc if 'grpc' in line.lower() else http}"
            if "--metrics-url" in (folder / command.split()[1]).read_text():
                url += f" --metrics-url 127.0.0.1:{metrics}"
            client = subprocess.run(
                ["bash", "-ec", command + url],
                cwd=folder,
                env=environment(),
                capture_output=True,
                text=True,
                timeout=CLIENT_SECONDS,
            )
            assert client.returncode == 0, client.stderr + log.read_text()
            assert example.expected <= set(client.stdout.splitlines())
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(STOP_SECONDS)


def environment() -> dict[str, str]:
    """As in an activated environment, and no proxy on the way to loopback."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}


def accepts(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Held all at once, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
