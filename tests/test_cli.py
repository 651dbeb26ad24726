"""The command `triton-python`, run as users run it: as a process of its own."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from triton_python import TritonPythonError, __version__
from triton_python._serve import check_repository

COMMAND = str(Path(sys.executable).with_name("triton-python"))
INTERPRETER_OPTION = "--backend-config=python,python-executable="

# Writes down how it was started, as the kernel knows it, and ends with the status that it is asked for.
RECORDER = """#!/bin/sh
cat /proc/$$/cmdline > "$RECORD/cmdline"
cat /proc/$$/environ > "$RECORD/environ"
cat /proc/$$/status > "$RECORD/status"
exit "${STATUS:-0}"
"""

# Follows no polite request; only SIGKILL ends it.
STUBBORN = f"""#!{sys.executable} -ISE
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.stderr.write("up\\n")
sys.stderr.flush()
while True:
    signal.pause()
"""


def stand_in_server(folder: Path, program: str) -> Path:
    """A script in the place of tritonserver, for what no real server can show."""
    script = folder / "server" / "bin" / "tritonserver"
    script.parent.mkdir(parents=True)
    script.write_text(program)
    script.chmod(0o755)
    return script


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def complaint(result: subprocess.CompletedProcess[str]) -> str:
    """The sentence of a command that failed as it should: status 1, one line, at the end."""
    assert result.returncode == 1, result
    last = result.stderr.splitlines()[-1]
    assert last.startswith("triton-python: ")
    assert "Traceback" not in result.stderr
    return last


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
        addresses = [f"--{service}-address=127.0.0.1" for service in self.of]
        return addresses + [f"--{service}-port={port}" for service, port in self.of.items()]


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


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    pytest.fail(f"{text!r} never came: " + "".join(seen))


def child_of(process: subprocess.Popen[str]) -> int:
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folders composed here are of no use to anybody."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@dataclass(frozen=True)
class Start:
    """How `serve` started the server."""

    result: subprocess.CompletedProcess[str]
    argv: list[str]
    environment: dict[str, str]
    status: dict[str, str]


@pytest.fixture
def start(repository: Path, tmp_path: Path) -> Callable[..., Start]:
    """Runs `serve` with a server that writes down how it was started."""
    server = stand_in_server(tmp_path, RECORDER)

    def serve(*options: str, **environment: str) -> Start:
        where = {"RECORD": str(tmp_path), "TRITON_SERVER": str(server)}
        result = run("serve", str(repository), *options, **where, **environment)
        argv = (tmp_path / "cmdline").read_text().split("\0")[2:-1]
        variables = (tmp_path / "environ").read_text().split("\0")[:-1]
        lines = (tmp_path / "status").read_text().splitlines()
        return Start(
            result=result,
            argv=argv,
            environment=dict(variable.split("=", 1) for variable in variables),
            status=dict(line.split(":\t", 1) for line in lines),
        )

    return serve


def test_version() -> None:
    assert run("--version").stdout == f"triton-python {__version__}\n"


def test_it_runs_as_a_module_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "triton_python", "--version"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    assert result.stdout == f"triton-python {__version__}\n"


def test_server_path_prints_the_program_and_verbose_says_why(tmp_path: Path) -> None:
    server = stand_in_server(tmp_path, RECORDER)

    result = run("server", "path", "-v", TRITON_SERVER=str(server))

    assert result.stdout == f"{server}\n"
    assert f"found through the environment variable TRITON_SERVER={server}" in result.stderr


def test_server_path_without_a_server_there_says_so(tmp_path: Path) -> None:
    assert "names no Triton server" in complaint(run("server", "path", "--server", str(tmp_path)))


def test_backend_dir_prints_one_folder_with_our_backend(tmp_path: Path) -> None:
    server = stand_in_server(tmp_path, RECORDER)
    (tmp_path / "server" / "backends" / "onnxruntime").mkdir(parents=True)

    result = run("backend-dir", TRITON_SERVER=str(server))

    assert result.returncode == 0, result.stderr
    (line,) = result.stdout.splitlines()
    folder = Path(line)
    assert (folder / "python" / "libtriton_python.so").is_file()
    assert (folder / "python" / "triton_python_backend_utils" / "__init__.py").is_file()
    assert is_this_python((folder / "python" / "interpreter.txt").read_text().rstrip("\n"))
    assert (folder / "onnxruntime").is_dir()


def test_serve_adds_repository_backend_and_interpreter(start: Callable[..., Start], repository: Path) -> None:
    started = start("--http-port", "9000", "--new-option=1", "-x")

    repository_option, backends_option, interpreter_option, *rest = started.argv
    assert repository_option == f"--model-repository={repository}"
    assert (Path(backends_option.split("=")[1]) / "python" / "libtriton_python.so").is_file()
    assert interpreter_option.startswith(INTERPRETER_OPTION)
    assert is_this_python(interpreter_option[len(INTERPRETER_OPTION) :])
    assert rest == ["--http-port", "9000", "--new-option=1", "-x"]


@pytest.mark.parametrize("place", ["first", "last"])
def test_serve_takes_its_own_server_option_anywhere(
    start: Callable[..., Start], repository: Path, tmp_path: Path, place: str
) -> None:
    other = stand_in_server(tmp_path / "other", RECORDER)
    arguments = [str(repository), "--id=a"]
    arguments[0:0] = [] if place == "last" else ["--server", str(other)]
    arguments += [f"--server={other}"] if place == "last" else []

    result = run("serve", *arguments, TRITON_SERVER="/nowhere", RECORD=str(tmp_path))

    assert result.returncode == 0, result.stderr
    cmdline = (tmp_path / "cmdline").read_text().split("\0")
    assert cmdline[1] == str(other)
    assert cmdline[-2] == "--id=a"


@pytest.mark.parametrize(
    "mine",
    [
        ["--backend-config=python,python-executable=/mine"],
        ["--backend-config", "python,python-executable=/mine"],
        ["--backend-directory=/mine"],
        ["--backend-directory", "/mine"],
    ],
)
def test_what_the_user_passes_replaces_what_serve_adds(start: Callable[..., Start], mine: list[str]) -> None:
    argv = start(*mine).argv

    assert argv[-len(mine) :] == mine
    subject = "python,python-executable" if "executable" in "".join(mine) else "--backend-directory"
    assert len([argument for argument in argv if subject in argument]) == 1


def test_other_settings_of_the_backend_leave_the_interpreter_alone(start: Callable[..., Start]) -> None:
    argv = start("--backend-config=python,shm-default-byte-size=2097152").argv

    assert sum(argument.startswith(INTERPRETER_OPTION) for argument in argv) == 1


def test_the_server_starts_as_from_a_shell(start: Callable[..., Start]) -> None:
    started = start(MY_VARIABLE="mine")

    given = {**os.environ, "MY_VARIABLE": "mine"}
    added = {name: value for name, value in started.environment.items() if given.get(name) != value}
    assert sorted(added) == ["RECORD", "TRITON_SERVER"]
    assert set(given) <= set(started.environment)
    assert not int(started.status["SigIgn"], 16) & 1 << (signal.SIGPIPE - 1)


def test_serve_ends_with_the_servers_status(start: Callable[..., Start]) -> None:
    assert start(STATUS="7").result.returncode == 7


def test_a_repository_that_does_not_exist_is_told(tmp_path: Path) -> None:
    sentence = complaint(run("serve", str(tmp_path / "nowhere")))

    assert f"there is no model repository at {tmp_path / 'nowhere'}: check the path" in sentence


def test_a_file_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("")

    assert "is not a folder" in complaint(run("serve", str(tmp_path / "model.py")))


def test_a_model_is_no_repository(repository: Path) -> None:
    (repository / "add_sub").mkdir()
    (repository / "add_sub" / "config.pbtxt").write_text("")

    sentence = complaint(run("serve", str(repository / "add_sub")))

    assert f"is a model, not a repository of models: give the folder above it, {repository}" in sentence


def test_an_unreadable_repository_is_told(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    # Tests may run as root, who can read everything.
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    with pytest.raises(TritonPythonError, match="cannot be read: check its permissions"):
        check_repository(str(repository))


def test_an_option_in_the_place_of_the_repository_is_told(repository: Path) -> None:
    sentence = complaint(run("serve", "--http-port", "9000", str(repository)))

    assert "the model repository comes before the option --http-port" in sentence


def test_a_repository_in_the_cloud_is_left_to_the_server() -> None:
    check_repository("s3://bucket/models")


@pytest.mark.parametrize("service", ["http", "grpc", "metrics"])
def test_serve_names_the_port_that_is_taken(
    triton_server_binary: Path, repository: Path, service: str
) -> None:
    ports = Ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports.of[service] = taken.getsockname()[1]

        result = run("serve", str(repository), "--server", str(triton_server_binary), *ports.options())

    address = f"127.0.0.1:{ports.of[service]}"
    sentence = complaint(result)
    assert f"the address {address} is already in use: stop the program that listens there" in sentence
    assert f"or choose another port with --{service}-port" in sentence


def test_serve_names_the_option_that_the_server_does_not_know(
    triton_server_binary: Path, repository: Path
) -> None:
    result = run("serve", str(repository), "--server", str(triton_server_binary), "--bogus=1")

    assert "the server does not know the option --bogus=1" in complaint(result)


def test_serve_says_where_to_look_when_models_do_not_load(
    triton_server_binary: Path, repository: Path
) -> None:
    (repository / "broken").mkdir()
    (repository / "broken" / "config.pbtxt").write_text("name: {")

    result = run("serve", str(repository), "--server", str(triton_server_binary), *Ports().options())

    assert "not every model could be loaded: the table in the log above" in complaint(result)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_cleanly(
    triton_server_binary: Path, repository: Path, number: signal.Signals
) -> None:
    options = ["--server", str(triton_server_binary), *Ports().options()]
    with serving("Started Metrics Service", str(repository), *options) as process:
        server = child_of(process)

        process.send_signal(number)
        _, log = process.communicate()

    assert process.returncode == 0
    assert "stopping the server" in log
    assert "All models are stopped, unloading models" in log
    assert not Path(f"/proc/{server}").exists()


def test_a_second_ctrl_c_kills_the_server(tmp_path: Path, repository: Path) -> None:
    server_binary = stand_in_server(tmp_path, STUBBORN)
    with serving("up", str(repository), "--server", str(server_binary)) as process:
        server = child_of(process)
        process.send_signal(signal.SIGINT)
        wait_for_line(process, "stopping the server (Ctrl-C again kills it)")

        process.send_signal(signal.SIGINT)
        process.communicate()

    assert process.returncode == 128 + signal.SIGKILL
    assert not Path(f"/proc/{server}").exists()


def test_a_repeated_sigterm_does_not_kill_the_server(tmp_path: Path, repository: Path) -> None:
    server_binary = stand_in_server(tmp_path, STUBBORN)
    with serving("up", str(repository), "--server", str(server_binary)) as process:
        process.send_signal(signal.SIGTERM)
        wait_for_line(process, "stopping the server")
        process.send_signal(signal.SIGTERM)

        process.send_signal(signal.SIGINT)
        _, log = process.communicate()

    assert log.count("killing the server") == 1
    assert process.returncode == 128 + signal.SIGKILL


def test_the_server_ends_with_a_killed_command(triton_server_binary: Path, repository: Path) -> None:
    options = ["--server", str(triton_server_binary), *Ports().options()]
    with serving("Started Metrics Service", str(repository), *options) as process:
        server = os.pidfd_open(child_of(process))
        try:
            process.kill()

            # Readable once the server has ended; a server that stays runs into the watchdog.
            select.select([server], [], [])
        finally:
            os.close(server)
