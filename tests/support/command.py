"""The command `triton-python`, run as users run it: as a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("triton-python"))

# Writes down how it was started, as the kernel knows it, and ends with the status that it is asked for.
RECORDER = """#!/bin/sh
cat /proc/$$/cmdline > "$RECORD/cmdline"
cat /proc/$$/environ > "$RECORD/environ"
cat /proc/$$/status > "$RECORD/status"
exit "${STATUS:-0}"
"""


def stand_in_server(folder: Path, program: str) -> Path:
    """A script in the place of tritonserver, for what no real server can show."""
    script = folder / "server" / "bin" / "tritonserver"
    script.parent.mkdir(parents=True)
    script.write_text(program)
    script.chmod(0o755)
    return script


def run(*arguments: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        env={**os.environ, **environment},
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        check=False,
    )


def complaint(result: subprocess.CompletedProcess[str]) -> str:
    """The sentence of a command that failed as it should: status 1, one line, at the end."""
    assert result.returncode == 1, result
    last = result.stderr.splitlines()[-1]
    assert last.startswith("triton-python: ")
    assert "Traceback" not in result.stderr
    return last


def usage_error(result: subprocess.CompletedProcess[str]) -> str:
    """What a command says that was called in a wrong way: status 2; the frame around it taken away."""
    assert result.returncode == 2, result
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.replace("│", " ").split())


def is_this_python(path: str) -> bool:
    """Whether `path` is the Python of this environment, and not the one that its links lead to."""
    ours = Path(sys.executable)
    return Path(path).parent == ours.parent and Path(path).samefile(ours)


class Ports:
    """Free loopback ports, and the server's options for them."""

    def __init__(self) -> None:
        with ExitStack() as held:
            sockets = [held.enter_context(socket.socket()) for _ in range(3)]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            self.of = dict(zip(("http", "grpc", "metrics"), (one.getsockname()[1] for one in sockets)))

    def options(self) -> list[str]:
        return ["--host=127.0.0.1", *(f"--{service}-port={port}" for service, port in self.of.items())]


@contextmanager
def serving(started: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`triton-python serve`, once its log holds `started`; killed at the end if it still runs."""
    with subprocess.Popen(
        [COMMAND, "serve", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_for_line(process, started)
            yield process
        finally:
            process.kill()


def wait_for_line(process: subprocess.Popen[str], text: str) -> list[str]:
    """What the process said on stderr up to the line with `text`."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line.rstrip("\n"))
        if text in line:
            return seen
    pytest.fail(f"{text!r} never came: " + "\n".join(seen))


def child_of(process: subprocess.Popen[str]) -> int:
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)
