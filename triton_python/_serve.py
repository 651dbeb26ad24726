"""`triton-python serve`: starts the server with our backend, streams its log, stops it cleanly."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from triton_python._backend_dir import backend_directory
from triton_python._errors import TritonPythonError
from triton_python._explain import explain
from triton_python._progress import say
from triton_python._server import TritonServer, find_server

LOG_DRAIN_SECONDS = 2.0


def serve(repository: str, options: list[str], server_path: str = "") -> int:
    """Runs the server until it ends or is told to stop, and returns its exit status.

    Raises:
        TritonPythonError: it could not be started, or it ended by itself for a reason that can be told.
    """
    check_repository(repository)
    server = find_server(server_path)
    return _run(_command(server, repository, options))


def check_repository(repository: str) -> None:
    """Raises TritonPythonError unless the server can read a model repository there."""
    if re.match(r"[a-z][a-z0-9+.-]*://", repository):
        return  # Cloud storage: the server knows how to read it, we do not.
    path = Path(repository)
    if repository.startswith("-"):
        raise TritonPythonError(
            f"the model repository comes before the option {repository}: "
            "triton-python serve REPOSITORY [options of the server]"
        )
    place = path.absolute()
    if not path.exists():
        raise TritonPythonError(f"there is no model repository at {place}: check the path")
    if not path.is_dir():
        raise TritonPythonError(
            f"the model repository {place} is not a folder: give the folder of the models"
        )
    if not os.access(path, os.R_OK | os.X_OK):
        raise TritonPythonError(f"the model repository {place} cannot be read: check its permissions")
    if (path / "config.pbtxt").is_file() or (path / "1" / "model.py").is_file():
        raise TritonPythonError(
            f"{place} is a model, not a repository of models: give the folder above it, {place.parent}"
        )


def _command(server: TritonServer, repository: str, options: list[str]) -> list[str]:
    """The server's command line; what the user passes stays as it is and wins over what we add."""
    command = [str(server.binary), f"--model-repository={repository}"]
    if not any(re.match(r"--backend-directory(=|$)", option) for option in options):
        command.append(f"--backend-directory={backend_directory(server)}")
    if not any(re.match(r"(--backend-config=)?python,python-executable=", option) for option in options):
        command.append(f"--backend-config=python,python-executable={sys.executable}")
    return command + options


def _run(command: list[str]) -> int:
    # These are taken one by one with sigwait below, never by a handler. Blocked before the start, so that
    # none is lost; the server gets a clean mask from _exec_server.
    waited_for = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    try:
        server, log = _start(command)
        stopped = _supervise(server, waited_for)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
    log.wait(LOG_DRAIN_SECONDS)
    status = server.returncode if server.returncode >= 0 else 128 - server.returncode
    if status != 0 and not stopped and log.reason:
        raise TritonPythonError(log.reason)
    return status


def _start(command: list[str]) -> tuple[subprocess.Popen[bytes], LogCopy]:
    starter = [sys.executable, "-I", "-S", str(Path(__file__).with_name("_exec_server.py")), str(os.getpid())]
    read_end, write_end = os.pipe()
    try:
        # stdout is inherited, so that a model's print() stays line-buffered on a terminal; the server's log
        # is stderr, which passes through us so that a failure can be explained.
        server = subprocess.Popen([*starter, *command], stdin=subprocess.DEVNULL, stderr=write_end)
    finally:
        os.close(write_end)
    return server, LogCopy(read_end)


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


class LogCopy:
    """Copies the server's log to stderr as it comes, on a thread of its own, and looks for why it may fail.

    The thread owns the descriptor and closes it at the end of the log. A model's process that outlives the
    server would hold the log open, so nobody waits for that end without a limit.
    """

    def __init__(self, source: int) -> None:
        self.reason: str | None = None
        """The last line that can be explained, in a sentence; to be read after `wait`."""
        self._source = source
        self._thread = threading.Thread(target=self._copy, name="server log", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Waits until the log has ended."""
        self._thread.join(seconds)

    def _copy(self) -> None:
        with os.fdopen(self._source, "rb") as source:
            for line in source:
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()
                self.reason = explain(line.decode(errors="replace")) or self.reason
