"""`triton-python serve` up to the start of the server: what it makes of what people type."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import RECORDER, Ports, complaint, is_this_python, run, stand_in_server

from triton_python import TritonPythonError
from triton_python._models import place_folder, repositories

INTERPRETER_OPTION = "--backend-config=python,python-executable="
MODEL = "class TritonPythonModel:\n    pass\n"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folders composed here are of no use to anybody."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """With one model, add_sub."""
    return write_model(tmp_path / "models" / "add_sub").parent


def write_model(folder: Path, config: str = "", source: str = "1/model.py") -> Path:
    (folder / source).parent.mkdir(parents=True)
    (folder / source).write_text(MODEL)
    (folder / "config.pbtxt").write_text(config)
    return folder


@dataclass(frozen=True)
class Start:
    """How `serve` started the server."""

    result: subprocess.CompletedProcess[str]
    argv: list[str]
    environment: dict[str, str]
    status: dict[str, str]

    def values(self, option: str) -> list[str]:
        return [word.partition("=")[2] for word in self.argv if word.startswith(f"{option}=")]


@pytest.fixture
def start(repository: Path, tmp_path: Path) -> Callable[..., Start]:
    """Runs `serve` with a server that writes down how it was started, on free ports unless told otherwise."""
    server = stand_in_server(tmp_path, RECORDER)

    def serve(*arguments: str, places: list[Path] | None = None, **environment: str) -> Start:
        where = {"RECORD": str(tmp_path), "TRITON_SERVER": str(server)}
        names = [str(place) for place in ([repository] if places is None else places)]
        words = [*names, *Ports().options(), *arguments]
        result = run("serve", *words, **where, **environment)
        assert (tmp_path / "cmdline").exists(), result.stderr
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


# --- what is added, and what passes through ---


def test_serve_adds_repository_backend_and_interpreter(start: Callable[..., Start], repository: Path) -> None:
    started = start()

    assert started.argv[0] == f"--model-repository={repository}"
    (backends,) = started.values("--backend-directory")
    assert (Path(backends) / "python" / "libtriton_python.so").is_file()
    (interpreter,) = started.values("--backend-config")
    assert is_this_python(interpreter.removeprefix("python,python-executable="))


def test_options_that_are_not_ours_pass_unchanged_and_in_order(start: Callable[..., Start]) -> None:
    passed = ["--log-verbose", "1", "--new-option=1", "-x", "--http-thread-count", "4"]

    assert start(*passed).argv[-len(passed) :] == passed


def test_everything_after_two_dashes_passes_even_what_looks_like_ours(start: Callable[..., Start]) -> None:
    argv = start("--", "--http-port=9000", "--server=x", "--help").argv

    assert argv[-3:] == ["--http-port=9000", "--server=x", "--help"]


@pytest.mark.parametrize("spelling", [["--server", "{}"], ["--server={}"]])
@pytest.mark.parametrize("first", [True, False])
def test_the_server_option_is_ours_anywhere(
    repository: Path, tmp_path: Path, spelling: list[str], first: bool
) -> None:
    other = stand_in_server(tmp_path / "other", RECORDER)
    mine = [word.format(other) for word in spelling]
    rest = [str(repository), "--id=a", *Ports().options()]

    result = run(
        "serve", *(mine + rest if first else rest + mine), TRITON_SERVER="/nowhere", RECORD=str(tmp_path)
    )

    assert result.returncode == 0, result.stderr
    cmdline = (tmp_path / "cmdline").read_text().split("\0")
    assert cmdline[1] == str(other)
    assert cmdline[-2] == "--id=a"


def test_host_and_ports_become_the_options_of_each_service(repository: Path, tmp_path: Path) -> None:
    server = stand_in_server(tmp_path, RECORDER)
    ports = Ports()
    words = ["--host", "127.0.0.1", *(f"--{name}-port={port}" for name, port in ports.of.items())]

    run("serve", *words, str(repository), "--server", str(server), RECORD=str(tmp_path))

    argv = (tmp_path / "cmdline").read_text().split("\0")
    for name, port in ports.of.items():
        assert f"--{name}-address=127.0.0.1" in argv
        assert f"--{name}-port={port}" in argv


def test_local_is_this_machine_alone(repository: Path, tmp_path: Path) -> None:
    server = stand_in_server(tmp_path, RECORDER)
    ports = [f"--{name}-port={port}" for name, port in Ports().of.items()]

    run("serve", "--local", str(repository), *ports, "--server", str(server), RECORD=str(tmp_path))

    argv = (tmp_path / "cmdline").read_text().split("\0")
    assert {f"--{name}-address=127.0.0.1" for name in ("http", "grpc", "metrics")} <= set(argv)


def test_local_and_another_address_do_not_go_together(repository: Path) -> None:
    assert "--local and --host both say where to listen" in complaint(
        run("serve", str(repository), "--local", "--host=0.0.0.0")
    )


def test_without_a_host_the_servers_own_default_holds(repository: Path, tmp_path: Path) -> None:
    server = stand_in_server(tmp_path, RECORDER)
    ports = [f"--{name}-port={port}" for name, port in Ports().of.items()]

    run("serve", str(repository), *ports, "--server", str(server), RECORD=str(tmp_path))

    assert "-address" not in (tmp_path / "cmdline").read_text()


def test_what_to_load_implies_explicit_control(start: Callable[..., Start]) -> None:
    started = start("--load-model=add_sub", "--load-model", "other")

    assert started.values("--load-model") == ["add_sub", "other"]
    assert started.values("--model-control-mode") == ["explicit"]


@pytest.mark.parametrize("place", ["own", "passed"])
def test_a_control_mode_that_is_given_stays(start: Callable[..., Start], place: str) -> None:
    words = ["--load-model=add_sub", *(["--"] if place == "passed" else []), "--model-control-mode=poll"]

    assert start(*words).values("--model-control-mode") == ["poll"]


@pytest.mark.parametrize(
    "mine",
    [
        ["--backend-config=python,python-executable=/mine"],
        ["--backend-config", "python,python-executable=/mine"],
        ["--backend-directory=/mine"],
        ["--backend-directory", "/mine"],
        ["--", "--backend-config", "python,python-executable=/mine"],
    ],
)
def test_what_the_user_passes_replaces_what_serve_adds(start: Callable[..., Start], mine: list[str]) -> None:
    argv = start(*mine).argv

    subject = "python,python-executable" if "executable" in "".join(mine) else "--backend-directory"
    (word,) = [argument for argument in argv if subject in argument]
    assert word.endswith("=/mine") or argv[argv.index(word) + 1] == "/mine"


def test_other_settings_of_backends_pass_and_leave_the_interpreter_alone(start: Callable[..., Start]) -> None:
    started = start("--backend-config=python,shm-default-byte-size=2097152", "--backend-config", "onnx,a=b")

    first, *rest = started.values("--backend-config")
    assert first.startswith("python,python-executable=")
    assert rest == ["python,shm-default-byte-size=2097152", "onnx,a=b"]


def test_verbose_says_which_server_and_which_command_line(
    start: Callable[..., Start], tmp_path: Path
) -> None:
    log = start("-v").result.stderr

    server = tmp_path / "server" / "bin" / "tritonserver"
    assert f"the server is {server}, found through the environment variable" in log
    assert f"running {server} --model-repository=" in log


def test_the_server_starts_as_from_a_shell(start: Callable[..., Start]) -> None:
    started = start(MY_VARIABLE="mine")

    given = {**os.environ, "MY_VARIABLE": "mine"}
    added = {name: value for name, value in started.environment.items() if given.get(name) != value}
    assert sorted(added) == ["RECORD", "TRITON_SERVER"]
    assert set(given) <= set(started.environment)
    assert not int(started.status["SigIgn"], 16) & 1 << (signal.SIGPIPE - 1)


def test_serve_ends_with_the_servers_status(start: Callable[..., Start]) -> None:
    assert start(STATUS="7").result.returncode == 7


# --- the Python for models ---


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


@pytest.mark.parametrize("named", ["{}", "{}/bin/python3", "{}/bin/../bin/python3"])
def test_python_may_be_a_program_or_an_environment(
    start: Callable[..., Start], environment: Path, named: str
) -> None:
    started = start("--python", named.format(environment))

    assert started.values("--backend-config") == [f"python,python-executable={environment}/bin/python3"]


def test_python_may_be_a_command_on_the_path(start: Callable[..., Start], environment: Path) -> None:
    (environment / "bin" / "my-python").symlink_to("python3")

    started = start("--python", "my-python", PATH=f"{environment}/bin:{os.environ['PATH']}")

    assert started.values("--backend-config") == [f"python,python-executable={environment}/bin/my-python"]


@pytest.mark.parametrize("named", ["/no/such/python", "no-such-command", "/etc", "/etc/passwd"])
def test_a_python_that_is_none_is_told(repository: Path, named: str) -> None:
    sentence = complaint(run("serve", str(repository), "--python", named))

    assert f"--python {named} names no Python" in sentence
    assert "give the path of a Python, the folder of a virtual environment, or a command" in sentence


def test_two_pythons_are_one_too_many(repository: Path) -> None:
    words = ["--python", sys.executable, "--backend-config=python,python-executable=/mine"]

    assert "both name a Python: give one of them" in complaint(run("serve", str(repository), *words))


# --- what is served ---


def layout(repository: str) -> dict[str, Path]:
    """Relative path -> where it leads, for a repository of links."""
    folder = Path(repository)
    return {str(path.relative_to(folder)): path.readlink() for path in folder.rglob("*") if path.is_symlink()}


def test_several_repositories_are_served_together(
    start: Callable[..., Start], repository: Path, tmp_path: Path
) -> None:
    other = write_model(tmp_path / "more" / "digits").parent

    started = start(places=[repository, other])

    assert started.values("--model-repository") == [str(repository), str(other)]


@pytest.mark.parametrize("place", ["", "1/model.py"])
def test_a_model_is_served_by_itself_under_its_name(repository: Path, place: str) -> None:
    (found,) = repositories([str(repository / "add_sub" / place)])

    assert layout(found) == {"add_sub": repository / "add_sub"}


def test_the_name_in_the_configuration_counts(tmp_path: Path) -> None:
    folder = write_model(
        tmp_path / "folder", 'max_batch_size: 4\nname: "chosen" # no\noutput [ { name: "OUT" } ]'
    )

    (found,) = repositories([str(folder)])

    assert layout(found) == {"chosen": folder}


@pytest.mark.parametrize("place", ["", "model.py"])
def test_a_bare_model_gets_the_version_1(tmp_path: Path, place: str) -> None:
    folder = write_model(tmp_path / "bare", source="model.py")

    (found,) = repositories([str(folder / place)])

    assert layout(found) == {"bare/1": folder, "bare/config.pbtxt": folder / "config.pbtxt"}


def test_a_bare_model_needs_no_configuration(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "bare", source="model.py")
    (folder / "config.pbtxt").unlink()

    (found,) = repositories([str(folder)])

    assert layout(found) == {"bare/1": folder}


def test_the_current_folder_may_be_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "bare", source="model.py")
    monkeypatch.chdir(folder)

    (found,) = repositories(["."])

    assert Path(found, "bare", "1").readlink() == folder


def test_models_and_repositories_may_be_mixed(repository: Path, tmp_path: Path) -> None:
    one = write_model(tmp_path / "one")
    two = write_model(tmp_path / "two", source="model.py")

    first, links = repositories([str(one), str(repository), str(two)])

    assert first == str(repository)
    assert set(layout(links)) == {"one", "two/1", "two/config.pbtxt"}


def test_two_models_of_one_name_are_told(repository: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other" / "add_sub")

    sentence = complaint(run("serve", str(repository / "add_sub"), str(other)))

    assert (
        f"{repository / 'add_sub'} and {other} are both models named 'add_sub': serve one of them" in sentence
    )


def test_a_repository_in_the_cloud_is_left_to_the_server() -> None:
    assert repositories(["s3://bucket/models"]) == ["s3://bucket/models"]


def test_a_repository_that_does_not_exist_is_told(tmp_path: Path) -> None:
    sentence = complaint(run("serve", str(tmp_path / "nowhere")))

    assert f"there is no model repository at {tmp_path / 'nowhere'}: check the path" in sentence


def test_another_file_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("")

    sentence = complaint(run("serve", str(tmp_path / "other.py")))

    assert "is not a folder: give the folder of the models, or of one model" in sentence


def test_an_unreadable_repository_is_told(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    # Tests may run as root, who can read everything.
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    with pytest.raises(TritonPythonError, match="cannot be read: check its permissions"):
        place_folder(str(repository))


def test_an_empty_repository_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "README").write_text("no models yet")

    sentence = complaint(run("serve", str(tmp_path / "empty")))

    assert (
        f"there is no model in {tmp_path / 'empty'}: a model is a folder with config.pbtxt and 1/model.py"
        in sentence
    )
    assert "--model-control-mode=explicit" in sentence


@pytest.mark.parametrize("words", [["--model-control-mode=explicit"], ["--", "--model-control-mode", "poll"]])
def test_an_empty_repository_will_do_where_models_may_come(
    start: Callable[..., Start], tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "empty").mkdir()

    assert start(*words, places=[tmp_path / "empty"]).result.returncode == 0


def test_an_option_of_the_server_in_the_place_of_the_repository_is_told(repository: Path) -> None:
    sentence = complaint(run("serve", "--log-verbose", "1", str(repository)))

    assert "the model repository comes before the server's option --log-verbose" in sentence


# --- ports, before the server starts ---


@pytest.mark.parametrize("service", ["http", "grpc", "metrics"])
@pytest.mark.parametrize("separator", [[], ["--"]])
def test_a_port_that_is_taken_is_told_before_the_server_starts(
    repository: Path, tmp_path: Path, service: str, separator: list[str]
) -> None:
    server = stand_in_server(tmp_path, RECORDER)
    ports = Ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports.of[service] = taken.getsockname()[1]
        options = [f"--{name}-address=127.0.0.1" for name in ports.of]
        options += [f"--{name}-port={port}" for name, port in ports.of.items()]

        result = run("serve", str(repository), "--server", str(server), *separator, *options)

    sentence = complaint(result)
    holder = f"process {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"
    assert f"the address 127.0.0.1:{ports.of[service]} is already in use by {holder}: stop the" in sentence
    assert f"or choose another port with --{service}-port" in sentence
    assert not (tmp_path / "cmdline").exists()


def test_a_port_that_the_server_shares_or_does_not_open_is_not_looked_at(
    start: Callable[..., Start],
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        words = [
            f"--http-port={port}",
            "--reuse-http-port=true",
            f"--grpc-port={port}",
            "--allow-grpc",
            "false",
        ]
        result = start(*words).result

    assert result.returncode == 0, result.stderr


def test_an_address_that_is_not_ours_is_told(repository: Path) -> None:
    sentence = complaint(run("serve", str(repository), "--host", "192.0.2.1"))

    assert "this machine has no address 192.0.2.1 for HTTP to listen on: choose one of its own" in sentence
