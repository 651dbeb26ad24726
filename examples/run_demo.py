"""Serves the examples through `triton-python serve` and runs their clients over HTTP and gRPC.

`make demo` runs this. Usage: `python run_demo.py [EXAMPLE...]`, all of them by default. An example whose
models need a library that is not installed is skipped. Everything it writes lies in one temporary folder,
which it removes.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
PROTOCOLS = ("http", "grpc")
COMMAND = Path(sys.executable).with_name("triton-python")
READY_SECONDS = 180
STOP_SECONDS = 60
CLIENT_SECONDS = 180
LOG_TAIL_LINES = 60
# Another program may take a port between the moment it was found free and the server's start.
STARTS_TRIED = 3


@dataclass(frozen=True)
class Example:
    """A model or several, their client, and the line that the client prints when all is well."""

    folder: str
    passed: str
    kind: str = ""  # the start of its files' names, where a folder holds several examples
    needs: tuple[str, ...] = ()  # other examples whose models it calls
    models: Mapping[str, str] = field(default_factory=dict)
    """If not the one of its own name: name -> the start of its files' names."""
    asks_metrics: bool = False  # its client also reads the metrics page
    protocols: tuple[str, ...] = PROTOCOLS  # a client of only one has no option for it
    library: str = ""  # that its models import; nothing else than the demo's own when empty

    def file(self, name: str) -> Path:
        return EXAMPLES / self.folder / f"{self.kind}{name}"


DEMOS = {
    "add_sub": Example("add_sub", "PASS: add_sub"),
    "auto_complete": Example(
        "auto_complete",
        "PASS: auto_complete",
        models={"nobatch_auto_complete": "nobatch_", "batch_auto_complete": "batch_"},
    ),
    "digits": Example("digits", "PASS: digits"),
    "custom_metrics": Example("custom_metrics", "PASS: custom_metrics", asks_metrics=True),
    "bls_sync": Example("bls", "PASS: BLS Sync", kind="sync_", needs=("add_sub",)),
    "bls_async": Example("bls", "PASS: BLS Async", kind="async_", needs=("add_sub", "pytorch")),
    "repeat_int32": Example("decoupled", "PASS: repeat_int32", kind="repeat_", protocols=("grpc",)),
    "square_int32": Example("decoupled", "PASS: square_int32", kind="square_", protocols=("grpc",)),
    "bls_decoupled_sync": Example(
        "bls_decoupled", "PASS: BLS Decoupled Sync", kind="sync_", needs=("square_int32",)
    ),
    "bls_decoupled_async": Example(
        "bls_decoupled", "PASS: BLS Decoupled Async", kind="async_", needs=("square_int32",)
    ),
    "resnet50": Example("instance_kind", "PASS: instance_kind"),
    "preprocessing": Example(
        "preprocessing",
        "PASS: preprocessing",
        models={
            "ensemble_python_resnet50": "ensemble_",
            "preprocess": "preprocess_",
            "resnet50_trt": "resnet50_trt_",
        },
    ),
    "pytorch": Example("pytorch", "PASS: pytorch", library="torch"),
    "jax": Example("jax", "PASS: jax", library="jax"),
}


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class PortTaken(DemoError):
    """Another program was faster; other ports may do."""


@dataclass(frozen=True)
class Ports:
    http: int
    grpc: int
    metrics: int

    @staticmethod
    def free() -> Ports:
        """Three loopback ports that nobody listens on; held all at once, so that they differ."""
        with ExitStack() as held:
            sockets = [held.enter_context(socket.socket()) for _ in range(3)]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            return Ports(*(one.getsockname()[1] for one in sockets))

    def options(self) -> list[str]:
        addresses = [f"--{service}-address=127.0.0.1" for service in PORT_NAMES]
        return addresses + [f"--{service}-port={getattr(self, service)}" for service in PORT_NAMES]


PORT_NAMES = ("http", "grpc", "metrics")


def main() -> int:
    asked = sys.argv[1:] or list(DEMOS)
    # Leave through the `finally` blocks when `make` is told to stop.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="triton-python-demo-") as scratch:
        log = Path(scratch) / "server.log"
        try:
            check_command()
            names = [name for name in asked if not skipped(name)]
            if not names:
                return 0
            repository = lay_out_repository(Path(scratch) / "models", names)
            with serving(repository, log) as ports:
                for name in names:
                    for protocol in DEMOS[name].protocols:
                        run_client(name, protocol, ports)
        except DemoError as error:
            show_tail(log)
            print(f"FAIL: {error}", file=sys.stderr)
            return 1
    left_out = f", {len(asked) - len(names)} skipped" if names != asked else ""
    print(f"the demo passed: {len(names)} examples over {' and '.join(PROTOCOLS)}{left_out}")
    return 0


def check_command() -> None:
    """Fails unless the project is installed; fetches the server now, before any time-out runs."""
    if not COMMAND.exists():
        raise DemoError(f"{COMMAND} does not exist: install the project into this Python, or run `make demo`")
    if subprocess.run([COMMAND, "server", "path"], stdout=subprocess.DEVNULL).returncode != 0:
        raise DemoError("there is no Triton server to run; the line above says what to do")


def skipped(name: str) -> bool:
    """Whether a library that the example's models import is not installed; says so."""
    library = missing_library(name)
    if library:
        print(f"SKIP {name}: {library} not installed", flush=True)
    return bool(library)


def missing_library(name: str) -> str:
    """The first that the models of an example, or those that they call, need and do not find; "" for none."""
    if name not in DEMOS:
        raise DemoError(f"there is no example {name!r}; there are {', '.join(DEMOS)}")
    example = DEMOS[name]
    if example.library and not installed(example.library):
        return example.library
    return next(filter(None, map(missing_library, example.needs)), "")


def installed(library: str) -> bool:
    """A folder without an origin is no library: `jax` here is an example, beside this file."""
    spec = importlib.util.find_spec(library)
    return spec is not None and spec.origin is not None


def lay_out_repository(repository: Path, names: list[str]) -> Path:
    """Lays each model out as Triton wants: NAME/1/model.py and NAME/config.pbtxt, or one of the two."""
    for name in names:
        lay_out_repository(repository, list(DEMOS[name].needs))
        example = DEMOS[name]
        for model, kind in (example.models or {name: example.kind}).items():
            files = EXAMPLES / example.folder
            version = repository / model / "1"
            version.mkdir(parents=True, exist_ok=True)
            # One that completes its configuration has no config.pbtxt, an ensemble has nothing else.
            for file, folder in (("model.py", version), ("config.pbtxt", version.parent)):
                if (files / f"{kind}{file}").exists():
                    shutil.copy(files / f"{kind}{file}", folder / file)
    return repository


@contextmanager
def serving(repository: Path, log: Path) -> Iterator[Ports]:
    """A server that is ready; stopped at the end."""
    server, ports = start_server(repository, log)
    try:
        yield ports
        stop(server)
        if server.returncode != 0:
            raise DemoError(f"the server ended with status {server.returncode} after it was told to stop")
    finally:
        stop(server)


def start_server(repository: Path, log: Path) -> tuple[subprocess.Popen[bytes], Ports]:
    for remaining in reversed(range(STARTS_TRIED)):
        ports = Ports.free()
        with log.open("wb") as output:
            server = subprocess.Popen(
                [COMMAND, "serve", repository, *ports.options()], stdout=output, stderr=subprocess.STDOUT
            )
        try:
            wait_until_ready(server, ports, log)
            return server, ports
        except PortTaken:
            if not remaining:
                raise
        except BaseException:
            stop(server)
            raise
    raise AssertionError("unreachable")


def wait_until_ready(server: subprocess.Popen[bytes], ports: Ports, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    # Loopback: never through a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if server.poll() is not None:
            if b"already in use" in log.read_bytes():
                raise PortTaken("no free ports were found")
            raise DemoError(f"the server ended with status {server.returncode} before it was ready")
        try:
            opener.open(f"http://127.0.0.1:{ports.http}/v2/health/ready", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise DemoError(f"the server was not ready after {READY_SECONDS} s")


def run_client(name: str, protocol: str, ports: Ports) -> None:
    example = DEMOS[name]
    command = [sys.executable, str(example.file("client.py"))]
    command += ["--url", f"127.0.0.1:{getattr(ports, protocol)}"]
    if len(example.protocols) > 1:
        command += ["--protocol", protocol]
    if example.asks_metrics:
        command += ["--metrics-url", f"127.0.0.1:{ports.metrics}"]
    # gRPC would ask a configured proxy for the loopback address, too.
    environment = {**os.environ, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    try:
        client = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=CLIENT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"{name} over {protocol}: no answer within {CLIENT_SECONDS} s") from error
    lines = client.stdout.splitlines()
    for line in lines:
        if not line.startswith("PASS"):
            print(f"  {line}")
    if client.returncode != 0 or example.passed not in lines:
        print(client.stderr, file=sys.stderr)
        raise DemoError(f"{name} over {protocol}: the client ended with status {client.returncode}")
    print(f"PASS: {name} over {protocol}", flush=True)


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stops the server as Ctrl-C does, or the hard way when it does not follow."""
    if server.poll() is not None:
        return
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        # The server follows `triton-python`, however that ends.
        server.kill()
        server.wait()


def show_tail(log: Path) -> None:
    if log.exists():
        lines = log.read_text(errors="replace").splitlines()
        print(
            "--- the last lines of the server's log ---", *lines[-LOG_TAIL_LINES:], sep="\n", file=sys.stderr
        )


if __name__ == "__main__":
    sys.exit(main())
