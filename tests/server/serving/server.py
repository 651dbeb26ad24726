"""A real tritonserver of one's own: started on free loopback ports, watched, stopped by its number."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from serving.processes import TOKEN, Process, holders, main_stubs, started_by, stubs
from serving.waiting import wait_until

STOP_SECONDS = 90
# Another program may take a port between the moment it was found free and the server's start.
STARTS_TRIED = 4
PORT_WAS_TAKEN = ("Address already in use", "address already in use", "Unavailable - Socket")


@dataclass(frozen=True)
class Start:
    """How to start a server."""

    binary: Path
    backend_dir: Path
    repository: Path
    log: Path
    options: Sequence[str] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    """For --backend-config=python,key=value."""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    """Added to this process's; None takes a variable away."""
    explicit: bool = True
    """Whether the test loads and unloads the models, instead of the server at its start."""
    metrics: bool = False
    own_group: bool = False
    own_prefix: bool = True
    """Names shared memory after this server. Not for the tests of that setting."""
    folder: Path | None = None
    """Where it runs; without, here."""


class TritonServer:
    """Runs from its construction until `stop()`."""

    def __init__(self, start: Start) -> None:
        self.start = start
        self.token = uuid.uuid4().hex
        for _ in range(STARTS_TRIED):
            self.http_port, self.grpc_port, self.metrics_port = _free_ports(3)
            self.popen = self._spawn()
            wait_until("the server to answer or to end", lambda: self.ended or self._answers())
            if not self.ended or not any(text in self.log() for text in PORT_WAS_TAKEN):
                break
        process = Process.of(self.popen.pid)
        if self.ended or process is None:
            raise ServerEnded(f"tritonserver ended with status {self.popen.poll()}:\n{self.log()}")
        self.process = process

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def region_prefix(self) -> str:
        """What the names of its shared memory begin with, by which nobody else's does."""
        return f"tpb_test_{self.token}_"

    @property
    def ended(self) -> bool:
        return self.popen.poll() is not None

    @property
    def http_url(self) -> str:
        return f"127.0.0.1:{self.http_port}"

    @property
    def grpc_url(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def log(self) -> str:
        return self.start.log.read_text(errors="replace")

    def is_live(self) -> bool:
        return not self.ended and self._answers()

    def stubs(self) -> list[Process]:
        """The stub processes of this server, without what they have forked."""
        return main_stubs(self.token)

    def all_stubs(self) -> list[Process]:
        """The stub processes of this server with the workers that they have forked."""
        return stubs(self.token)

    def settle(self) -> None:
        """Wait until every thread sleeps.

        Triton 2.51 crashes when a model is unloaded while the thread that has just initialized an instance is
        between saying so and waiting for work; on a busy machine it can be kept there for a while.
        """
        wait_until("the server's threads to sleep", lambda: self.process.states() <= {"S"})

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """While it lasts all threads of the server stand still, but not the processes of models."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            wait_until("the server to stand still", lambda: self.process.states() <= {"T"})
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, as the kernel's out-of-memory killer does it."""
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> int:
        """SIGTERM; the server's exit status. It has ended afterwards, killed when it did not follow."""
        try:
            if not self.ended:
                self.settle()
                self.popen.send_signal(signal.SIGTERM)
            return self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not follow SIGTERM:\n{self.log()}") from None
        finally:
            self.kill()

    def discard(self) -> None:
        """End it and all that is of it, whatever state they are in."""
        self.kill()
        for one in started_by(self.token):
            if not one.tidies_up():
                with suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
        wait_until("the end of all that it has started", lambda: not started_by(self.token))
        for name in self.shm_names():
            Path("/dev/shm", name).unlink(missing_ok=True)

    def wait_until_nothing_is_left(self) -> None:
        """After the end of the server: no process, mapping, descriptor or /dev/shm name of it stays."""
        wait_until("the end of all stubs", lambda: not self.all_stubs())
        if not self.start.own_prefix:
            return  # its memory cannot be told from that of other servers
        wait_until("no process to hold our memory", lambda: not holders(f"memfd:{self.region_prefix}"))
        assert not self.shm_names()

    def shm_names(self) -> list[str]:
        return [path.name for path in Path("/dev/shm").glob(f"{self.region_prefix}*")]

    def _spawn(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, TOKEN: self.token}
        for name, value in self.start.environment.items():
            environment.pop(name, None)
            if value is not None:
                environment[name] = value
        with self.start.log.open("wb") as log:
            return subprocess.Popen(
                self._command(),
                env=environment,
                cwd=self.start.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=self.start.own_group,
            )

    def _command(self) -> list[str]:
        start = self.start
        settings = dict(start.settings)
        if start.own_prefix:
            settings.setdefault("shm-region-prefix-name", self.region_prefix)
        services = {"http": self.http_port, "grpc": self.grpc_port, "metrics": self.metrics_port}
        return [
            str(start.binary),
            f"--model-repository={start.repository}",
            f"--backend-directory={start.backend_dir}",
            f"--allow-metrics={str(start.metrics).lower()}",
            "--allow-gpu-metrics=false",
            "--exit-on-error=false",
            *(f"--{service}-address=127.0.0.1" for service in services),
            *(f"--{service}-port={port}" for service, port in services.items()),
            *(["--model-control-mode=explicit"] if start.explicit else []),
            *(f"--backend-config=python,{key}={value}" for key, value in settings.items()),
            *start.options,
        ]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.http_url}/v2/health/live", timeout=5) as answer:
                return int(answer.status) == 200
        except (OSError, urllib.error.URLError):
            return False


class ServerEnded(Exception):
    """The server did not come up."""


def _free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on; held all at once, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
