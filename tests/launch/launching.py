"""Runs the launcher as the backend does, and what it becomes, with a `_core` that says what it finds."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import triton_python_backend_utils

PACKAGE = Path(triton_python_backend_utils.__file__).parent
WATCHDOG_S = 60

# Says who it is when it is connected, and stays until the server is done with it.
TELLING_CORE = """
import json, os, socket, sys
def connect(fd):
    server = socket.socket(fileno=fd)
    targets = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            targets[name] = os.readlink("/proc/self/fd/" + name)
        except OSError:
            pass
    telling = [sys.executable, sys.prefix, sys.orig_argv if sys.version_info >= (3, 10) else [], sys.argv]
    flags = [sys.flags.isolated, sys.flags.dont_write_bytecode, sys.flags.ignore_environment]
    telling += [dict(os.environ), targets, flags, os.getpid()]
    server.send(b"HELLO" + json.dumps(telling).encode())
    server.recv(1)
    os._exit(0)
"""


class Hello:
    """What the process that a model would run in has found."""

    def __init__(self, told: list[Any], messages: list[bytes]) -> None:
        self.executable, self.prefix, _, argv, self.environ, self.fds, self.flags, self.pid = told
        self.script, self.fd, self.model, self.server_pid, facts = argv
        self.facts: dict[str, Any] = json.loads(facts)
        self.messages = messages


class Launcher:
    def __init__(self, process: subprocess.Popen[str], server: socket.socket) -> None:
        self.process = process
        self.server = server
        self.messages: list[bytes] = []

    def hear(self) -> bytes:
        """The next message; nothing at the end."""
        message = self.server.recv(1 << 20)
        self.messages.append(message)
        return message

    def hear_until(self, start: bytes) -> bytes:
        """The first message that starts so."""
        while message := self.hear():
            if message.startswith(start):
                return message
        raise AssertionError(f"it has ended: {self.messages} {self.process.communicate()[1]}")

    def hello(self) -> Hello:
        message = self.hear_until(b"HELLO")
        return Hello(json.loads(message[5:]), self.texts())

    def failure(self) -> str:
        """The text that the load fails with; the process has ended as it ought to."""
        text = self.hear_until(b"TPBFAIL1")[8:].decode()
        _, err = self.process.communicate(timeout=WATCHDOG_S)
        assert self.process.returncode == 1
        assert err.endswith(f"model 'm m': {text}\n")
        assert self.hear() == b""
        return text

    def texts(self) -> list[bytes]:
        """What is to be logged."""
        return [message for message in self.messages if len(message) > 8]

    def end(self) -> None:
        self.server.shutdown(socket.SHUT_WR)
        _, err = self.process.communicate(timeout=WATCHDOG_S)
        assert (self.process.returncode, err) == (0, "")


def telling_package(folder: Path) -> Path:
    """A copy of the package with a `_core` that tells."""
    ignored = shutil.ignore_patterns("_core.*", "__pycache__")
    copy = shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=ignored)
    (copy / "_core.py").write_text(TELLING_CORE)
    return copy


def send_configuration(server: socket.socket, text: bytes, mark: bytes = b"TPBCONF1") -> None:
    fd = os.memfd_create("configuration")
    try:
        os.write(fd, text)
        socket.send_fds(server, [mark], [fd])
    finally:
        os.close(fd)


@contextmanager
def started(
    package: Path,
    model: Path,
    cache: Path | str,
    python: str = sys.executable,
    server_pid: int | None = None,
    **env: str,
) -> Iterator[Launcher]:
    """The launcher, as the backend starts it for a model named `m m`, without a configuration yet."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(WATCHDOG_S)
    arguments = [str(theirs.fileno()), "m m", str(server_pid or os.getpid()), str(model), str(cache), ""]
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    process = subprocess.Popen(
        [python, "-B", "-I", str(package / "launch" / "launcher.py"), *arguments],
        pass_fds=[theirs.fileno()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, **env},
    )
    theirs.close()
    with ours, process:
        try:
            yield Launcher(process, ours)
        finally:
            process.kill()


@contextmanager
def launched(
    package: Path, model: Path, cache: Path | str, value: str | Path | None, **options: Any
) -> Iterator[Launcher]:
    """The launcher of a model with this EXECUTION_ENV_PATH."""
    parameters = {} if value is None else {"EXECUTION_ENV_PATH": {"string_value": str(value)}}
    with started(package, model, cache, **options) as launcher:
        send_configuration(launcher.server, json.dumps({"parameters": parameters}).encode())
        yield launcher
