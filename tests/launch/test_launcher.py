"""The process that finds or makes a model's environment and becomes its Python, run as the backend runs it.

What it becomes runs the real main script of a model's process, with a `_core` that says what it finds.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from launching import WATCHDOG_S, Hello, launched, send_configuration, started, telling_package
from making import conda_prefix, pretender, python_of, venv
from packing import environment, file

from triton_python_backend_utils.launch.cache import EnvironmentCache


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return telling_package(tmp_path / "backend")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(params=[None, "3.9", "3.13"])
def launching_python(request: pytest.FixtureRequest) -> str:
    return sys.executable if request.param is None else str(python_of(request.param))


def test_becomes_the_main_script_in_the_python_of_a_folder(
    package: Path, model: Path, cache: Path, tmp_path: Path, launching_python: str
) -> None:
    folder = venv(tmp_path / "venv", python_of("3.11"))

    with launched(package, model, cache, folder, python=launching_python) as launcher:
        hello = launcher.hello()
        launcher.end()

    assert hello.pid == launcher.process.pid
    assert (hello.executable, hello.prefix) == (f"{folder}/bin/python3", str(folder))
    assert hello.script == str(package / "launch" / "stub_main.py")
    assert (hello.model, hello.server_pid) == ("m m", str(os.getpid()))
    assert hello.fds[hello.fd].startswith("socket:")
    assert hello.flags == [0, 1, 0]
    assert hello.environ["VIRTUAL_ENV"] == str(folder)
    assert hello.environ["PATH"] == f"{folder}/bin:{os.environ['PATH']}"
    assert hello.facts == {
        "environment": str(folder),
        "prefix": str(folder),
        "keep_open": [],
        "phases": [],
        "core_directories": [],
    }
    step = f"TPBSTEP1runs in {folder}/bin/python3 (EXECUTION_ENV_PATH {folder})"
    assert hello.messages[-2].decode() == step


def test_becomes_the_python_of_an_archive_and_holds_on_to_it(
    package: Path, model: Path, cache: Path, launching_python: str
) -> None:
    """For as long as it lives, in whatever it has become."""
    script = file("bin/conda-unpack", b"open('was-run', 'w')\n")
    environment(model / "env.tar.gz", script, file("conda-meta/history"), file("a", b"x" * 3_000_000))
    value = "$$TRITON_MODEL_DIRECTORY/env.tar.gz"

    with launched(package, model, cache, value, python=launching_python) as launcher:
        hello = launcher.hello()
        (entry,) = EnvironmentCache(cache).entries()
        assert entry.in_use
        assert EnvironmentCache(cache).prune(everything=True) == []
        launcher.end()

    prefix = cache / "environments" / entry.digest / "env"
    (lock,) = hello.facts["keep_open"]
    assert hello.fds[str(lock)] == f"{prefix.parent}.lock"
    assert hello.facts["environment"] == value
    assert hello.facts["prefix"] == str(prefix)
    assert [name for name, _ in hello.facts["phases"]] == ["hashing", "unpacking", "conda-unpack"]
    assert all(isinstance(seconds, float) and seconds >= 0 for _, seconds in hello.facts["phases"])
    assert hello.environ["CONDA_PREFIX"] == str(prefix)
    assert hello.environ["PYTHONNOUSERSITE"] == "1"
    assert (prefix / "was-run").exists()
    steps = [message.decode() for message in hello.messages[:-1]]
    assert steps[0].startswith(f"TPBSTEP1unpacks {model}/env.tar.gz (")
    assert steps[-1].startswith("TPBSTEP1runs in ")
    assert f"(EXECUTION_ENV_PATH {value}): hashing 0." in steps[-1]
    assert not EnvironmentCache(cache).entries()[0].in_use
    assert [one.digest for one in EnvironmentCache(cache).prune(everything=True)] == [entry.digest]


def test_nothing_but_the_socket_and_the_lock_is_passed_on(package: Path, model: Path, cache: Path) -> None:
    environment(model / "env.tar.gz")

    with launched(package, model, cache, model / "env.tar.gz") as launcher:
        hello = launcher.hello()
        launcher.end()

    open_fds = {int(fd) for fd in hello.fds} - {0, 1, 2}
    assert open_fds - {int(hello.fd), *hello.facts["keep_open"]} == set()


def test_a_model_that_asks_for_nothing_after_all_gets_the_same_python(
    package: Path, model: Path, cache: Path
) -> None:
    """The backend only looks whether the name of the parameter is in the configuration's text."""
    with launched(package, model, cache, None, PYTHONUNBUFFERED="1") as launcher:
        hello = launcher.hello()
        launcher.end()

    assert hello.executable == sys.executable
    assert hello.facts["environment"] == ""
    assert hello.environ["PATH"] == os.environ["PATH"]
    assert hello.environ["PYTHONUNBUFFERED"] == "1"
    assert not cache.exists()


def test_the_default_cache_is_used_when_none_is_named(package: Path, model: Path, tmp_path: Path) -> None:
    environment(model / "env.tar.gz")

    with launched(package, model, "", model / "env.tar.gz", XDG_CACHE_HOME=str(tmp_path / "xdg")) as launcher:
        hello = launcher.hello()
        launcher.end()

    assert hello.facts["prefix"].startswith(f"{tmp_path}/xdg/triton-python/environments/")


def test_nothing_is_imported_from_where_it_is_started(
    package: Path, model: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "trap"
    (trap / "triton_python_backend_utils").mkdir(parents=True)
    for name in ("json.py", "tarfile.py", "selectors.py", "triton_python_backend_utils/__init__.py"):
        (trap / name).write_text("raise RuntimeError('not ours')")
    for name in ("json.py", "tarfile.py"):
        (package / "launch" / name).write_text("raise RuntimeError('not the library')")
    folder = venv(tmp_path / "venv")
    monkeypatch.chdir(trap)

    with launched(package, model, cache, folder) as launcher:
        # What it becomes is to see the variables of the environment, and is not part of this.
        assert launcher.hear_until(b"TPBSTEP1runs in ")


def test_a_problem_is_told_to_the_server(
    package: Path, model: Path, cache: Path, launching_python: str
) -> None:
    with launched(package, model, cache, "/missing/env", python=launching_python) as launcher:
        assert launcher.failure() == (
            "EXECUTION_ENV_PATH names /missing/env, which does not exist. Check the path; in a container, "
            "check that it is mounted there"
        )


def test_an_old_python_is_told_to_the_server(package: Path, model: Path, cache: Path) -> None:
    python = python_of("3.8")

    with launched(package, model, cache, python.parent.parent) as launcher:
        assert "is too old: models need 3.9 or newer" in launcher.failure()


def test_warnings_are_told_to_the_server(package: Path, model: Path, cache: Path, tmp_path: Path) -> None:
    (model / "triton_python_backend_stub").write_text("#!/bin/sh\n")
    folder = conda_prefix(tmp_path / "conda", a="echo oh no >&2; return 1\n")

    with launched(package, model, cache, folder) as launcher:
        hello = launcher.hello()
        launcher.end()

    warnings = [message.decode() for message in hello.messages if message.startswith(b"TPBWARN1")]
    assert [warning.rpartition(": ")[2] for warning in warnings][1] == "oh no"
    assert warnings[0].startswith(
        f"TPBWARN1{model}/triton_python_backend_stub is a script of somebody else's"
    )


def test_signs_of_life_come_while_a_hook_runs(
    package: Path, model: Path, cache: Path, tmp_path: Path
) -> None:
    folder = conda_prefix(tmp_path / "conda", slow="sleep 4\n")

    with launched(package, model, cache, folder) as launcher:
        launcher.hello()
        launcher.end()

    assert launcher.messages.count(b"TPBSTEP1") >= 3


def test_a_cache_that_cannot_be_used_is_told(package: Path, model: Path, cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    environment(model / "env.tar.gz")

    with launched(package, model, cache, model / "env.tar.gz") as launcher:
        assert f"{cache} can be written by other users" in launcher.failure()


def test_a_python_that_cannot_be_started_is_told(
    package: Path, model: Path, cache: Path, tmp_path: Path
) -> None:
    """One that answered a moment ago, for another that has gone meanwhile."""
    gone = tmp_path / "gone" / "python3"
    folder = pretender(tmp_path / "env" / "bin" / "python3", executable=str(gone)).parent.parent

    with launched(package, model, cache, folder) as launcher:
        text = launcher.failure()

    assert text.startswith(f"{gone} cannot be started with the variables of its environment: No such file")


@pytest.mark.parametrize(
    ("text", "mark", "said"),
    [
        (b"{", b"TPBCONF1", "JSONDecodeError"),
        (b"", b"TPBCONF1", "JSONDecodeError"),
        (b"[]", b"TPBCONF1", "the model's configuration is list"),
        (b"\xff", b"TPBCONF1", "UnicodeDecodeError"),
        (b'{"parameters": 3}', b"TPBCONF1", "AttributeError"),
        (b"{}", b"TPBCONF9", "the server sent b'TPBCONF9' and 1 descriptors"),
    ],
)
def test_what_nobody_foresaw_is_told_to_the_server(
    package: Path, model: Path, cache: Path, text: bytes, mark: bytes, said: str
) -> None:
    with started(package, model, cache) as launcher:
        send_configuration(launcher.server, text, mark)

        failure = launcher.failure()

    assert failure.startswith("the environment cannot be prepared: ")
    assert said in failure


def test_a_message_without_a_configuration_is_told(package: Path, model: Path, cache: Path) -> None:
    with started(package, model, cache) as launcher:
        launcher.server.send(b"TPBCONF1")

        assert "0 descriptors" in launcher.failure()


def test_a_server_that_goes_before_it_says_anything_ends_it(package: Path, model: Path, cache: Path) -> None:
    with started(package, model, cache) as launcher:
        launcher.server.close()

        _, err = launcher.process.communicate(timeout=WATCHDOG_S)

    assert (launcher.process.returncode, err) == (1, "")


def noise(path: Path) -> Path:
    """An archive that takes seconds to unpack."""
    return environment(path, file("noise", os.urandom(12 << 20)), program="bzip2")


def test_a_server_that_goes_while_it_works_ends_it_and_nothing_is_left(
    package: Path, model: Path, cache: Path
) -> None:
    archive = noise(model / "env")
    with launched(package, model, cache, archive) as launcher:
        launcher.hear_until(b"TPBSTEP1unpacks")

        launcher.server.close()

        _, err = launcher.process.communicate(timeout=WATCHDOG_S)
    assert launcher.process.returncode == 1
    assert err.startswith("the server does not listen: ")
    assert {path.name for path in (cache / "environments").iterdir()} == {"known"}


def test_does_not_start_for_another_process(package: Path, model: Path, cache: Path) -> None:
    with started(package, model, cache, server_pid=os.getppid()) as launcher:
        heard = launcher.hear()
        _, err = launcher.process.communicate(timeout=WATCHDOG_S)

    assert heard == b""
    assert launcher.process.returncode == 1
    assert err == (
        f"model 'm m': its parent is process {os.getpid()} and not the server, process {os.getppid()}\n"
    )


def test_is_killed_with_the_server(package: Path, model: Path, cache: Path) -> None:
    archive = noise(model / "env")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fd = theirs.fileno()
    code = (
        "import os, subprocess, sys\n"
        f"command = [sys.executable, '-B', '-I', {str(package / 'launch' / 'launcher.py')!r}, '{fd}', 'm',\n"
        f"           str(os.getpid()), {str(model)!r}, {str(cache)!r}, '']\n"
        f"subprocess.Popen(command, pass_fds=[{fd}]).wait()"
    )
    with ours, subprocess.Popen([sys.executable, "-c", code], pass_fds=[fd]) as server:
        theirs.close()
        ours.settimeout(WATCHDOG_S)
        parameters = {"EXECUTION_ENV_PATH": {"string_value": str(archive)}}
        send_configuration(ours, json.dumps({"parameters": parameters}).encode())
        while not ours.recv(1 << 16).startswith(b"TPBSTEP1unpacks"):
            pass

        server.kill()

        while ours.recv(1 << 16):
            pass
    assert EnvironmentCache(cache).entries() == []


def test_signals_are_as_they_were(package: Path, model: Path, cache: Path, tmp_path: Path) -> None:
    """Python ignores some, and what it becomes would begin with them ignored."""
    folder = tmp_path / "env"
    told = tmp_path / "told"
    python = pretender(folder / "bin" / "python3")
    tells = f'case "$2" in *stub_main.py) exec grep SigIgn /proc/$$/status >{told};; esac'
    python.write_text(python.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{tells}\n", 1))

    with launched(package, model, cache, folder) as launcher:
        launcher.process.communicate(timeout=WATCHDOG_S)

    assert int(told.read_text().split()[1], 16) & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)) == 0


def test_wrong_arguments_are_refused(package: Path) -> None:
    script = package / "launch" / "launcher.py"

    result = subprocess.run([sys.executable, script, "1"], capture_output=True, text=True, check=False)

    assert result.returncode == 2
    assert result.stderr == (
        f"usage: {script} <socket fd> <model name> <server pid> <model folder> <cache folder> <cache bytes>\n"
    )


def test_eight_models_that_share_an_archive_unpack_it_once(package: Path, model: Path, cache: Path) -> None:
    archive = noise(model / "env")
    hellos: list[Hello] = []
    met = threading.Barrier(8)

    def load() -> None:
        met.wait()
        with launched(package, model, cache, archive) as launcher:
            hellos.append(launcher.hello())
            met.wait()
            launcher.end()

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({hello.facts["prefix"] for hello in hellos}) == 1
    phases = [[name for name, _ in hello.facts["phases"]] for hello in hellos]
    assert sum("unpacking" in names for names in phases) == 1
    assert sum("waiting" in names for names in phases) >= 4
