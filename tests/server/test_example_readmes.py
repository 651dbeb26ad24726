"""The shell blocks of the examples' READMEs, run as a reader would: lay out a repository, serve it, ask."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from serving.waiting import wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
READMES = sorted(EXAMPLES.glob("*/README.md"))
SERVE = "triton-python serve models"
CLIENT_SECONDS = 120
STOP_SECONDS = 60


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_what_the_readme_of_an_example_says_works(readme: Path, tmp_path: Path) -> None:
    prepare, ask = re.findall(r"^```bash\n(.*?)^```", readme.read_text(), re.DOTALL | re.MULTILINE)
    expected = re.findall(r"`(PASS: [^`]+)`", readme.read_text())
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    folder = tmp_path / "examples" / readme.parent.name
    http, grpc, metrics = free_ports(3)
    options = f" --http-port={http} --grpc-port={grpc} --metrics-port={metrics}"
    assert prepare.rstrip().endswith(SERVE)

    log = tmp_path / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["bash", "-ec", prepare.replace(SERVE, f"exec {SERVE}{options}")],
            cwd=folder,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until("the server", lambda: server.poll() is not None or (accepts(http) and accepts(grpc)))
        assert server.poll() is None, log.read_text()
        for line in ask.splitlines():
            command = line.partition("#")[0].strip()
            url = f" --url 127.0.0.1:{grpc if 'grpc' in command else http}"
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
            assert set(expected) <= set(client.stdout.splitlines())
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
