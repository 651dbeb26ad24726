"""`triton-python serve`: starts the server with our backend, streams its log, stops it cleanly."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from triton_python._backend_dir import backend_directory
from triton_python._errors import TritonPythonError
from triton_python._interpreter import named_interpreter
from triton_python._log import LogCopy
from triton_python._models import check_is_not_empty, repositories
from triton_python._options import Endpoint, endpoints, option_value
from triton_python._ports import port_problem
from triton_python._progress import say
from triton_python._server import TritonServer, find_server

LOG_DRAIN_SECONDS = 2.0
_INTERPRETER = re.compile(r"(--backend-config=)?python,python-executable=")


@dataclass(frozen=True)
class ServeSettings:
    """What the person at the terminal asked for."""

    places: Sequence[str]
    """Repositories and models."""
    options: Sequence[str] = ()
    """For the server, as they are; they come last and so win."""
    server: str = ""
    python: str = ""
    host: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    """Those that were chosen: `http`, `grpc`, `metrics`."""
    control_mode: str = ""
    load_models: Sequence[str] = ()
    backend_config: Sequence[str] = ()
    verbose: bool = False


def serve(settings: ServeSettings) -> int:
    """Runs the server until it ends or is told to stop, and returns its exit status.

    Raises:
        TritonPythonError: it could not be started, or it ended by itself for a reason that can be told.
    """
    found = repositories(settings.places)
    options = [*_chosen_options(settings), *settings.options]
    if (option_value(options, "--model-control-mode") or "none").lower() == "none":
        for repository in found:
            check_is_not_empty(repository)
    expected = endpoints(options)
    # The server would find out only after it has loaded every model.
    check_ports(expected)
    server = find_server(settings.server)
    command = _command(server, found, options)
    if settings.verbose:
        say(f"the server is {server.binary}, found through {server.source}")
        say(f"running {shlex.join(command)}")
    return _run(command, expected)


def check_ports(expected: Sequence[Endpoint]) -> None:
    """Raises TritonPythonError if the server could not listen where it is told to."""
    for endpoint in expected:
        problem = None if endpoint.shared else port_problem(endpoint)
        if problem:
            raise TritonPythonError(problem)


def _chosen_options(settings: ServeSettings) -> list[str]:
    """The server's options for what was asked for in our own."""
    options = []
    if settings.host:
        options += [f"--{service}-address={settings.host}" for service in ("http", "grpc", "metrics")]
    options += [f"--{service}-port={port}" for service, port in settings.ports.items()]
    mode = settings.control_mode
    if settings.load_models and not mode and option_value(settings.options, "--model-control-mode") is None:
        mode = "explicit"  # The server refuses --load-model otherwise.
    options += [f"--model-control-mode={mode}"] if mode else []
    options += [f"--load-model={name}" for name in settings.load_models]
    options += [f"--backend-config={setting}" for setting in settings.backend_config]
    if settings.python:
        if any(_INTERPRETER.match(option) for option in [*options, *settings.options]):
            raise TritonPythonError(
                "--python and --backend-config=python,python-executable both name a Python: give one of them"
            )
        options.append(f"--backend-config=python,python-executable={named_interpreter(settings.python)}")
    return options


def _command(server: TritonServer, found: Sequence[str], options: Sequence[str]) -> list[str]:
    """The server's command line; what the user passes stays as it is and wins over what we add."""
    command = [str(server.binary), *(f"--model-repository={repository}" for repository in found)]
    if option_value(options, "--backend-directory") is None:
        command.append(f"--backend-directory={backend_directory(server)}")
    if not any(_INTERPRETER.match(option) for option in options):
        command.append(f"--backend-config=python,python-executable={sys.executable}")
    return [*command, *options]


def _run(command: Sequence[str], expected: Sequence[Endpoint]) -> int:
    # These are taken one by one with sigwait below, never by a handler. Blocked before the start, so that
    # none is lost; the server gets a clean mask from _exec_server.
    waited_for = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    try:
        server, log = _start(command, expected)
        stopped = _supervise(server, waited_for)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
    log.wait(LOG_DRAIN_SECONDS)
    status = server.returncode if server.returncode >= 0 else 128 - server.returncode
    if status != 0 and not stopped and log.reason:
        raise TritonPythonError(log.reason)
    return status


def _start(command: Sequence[str], expected: Sequence[Endpoint]) -> tuple[subprocess.Popen[bytes], LogCopy]:
    starter = [sys.executable, "-I", "-S", str(Path(__file__).with_name("_exec_server.py")), str(os.getpid())]
    read_end, write_end = os.pipe()
    try:
        # stdout is inherited, so that a model's print() stays line-buffered on a terminal; the server's log
        # is stderr, which passes through us so that a failure can be explained.
        server = subprocess.Popen([*starter, *command], stdin=subprocess.DEVNULL, stderr=write_end)
    finally:
        os.close(write_end)
    return server, LogCopy(read_end, expected)


def _supervise(server: subprocess.Popen[bytes], waited_for: set[signal.Signals]) -> bool:
    """Waits for the server's end and returns whether it was told to stop."""
    stopping = False
    while server.poll() is None:
        received = signal.sigwait(waited_for)
        if received == signal.SIGCHLD:
            continue
        if not stopping:
            say("stopping the server (Ctrl-C again kills it)")
            server.terminate()
        elif received == signal.SIGINT:
            say("killing the server")
            server.kill()
        stopping = True
    return stopping
