"""Models that bring a Python environment of their own: EXECUTION_ENV_PATH, and a stub in their folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving.client import Client
from serving.environments import NUMPY_PARENT, add_filler, make_venv, pack
from serving.repository import config, parameters, write_model
from serving.server import TritonServer
from serving.telling import ONE, TENSORS, telling
from serving.types import StartServer
from serving.waiting import wait_until

FACTS = "[sys.prefix, sys.executable, dict(os.environ)]"


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_venv(tmp_path_factory.mktemp("environments") / "venv")


@pytest.fixture(scope="module")
def packable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_venv(tmp_path_factory.mktemp("environments") / "packable", copies=True)


@pytest.fixture(scope="module")
def archive(packable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(packable, tmp_path_factory.mktemp("archives") / "env.tar.gz")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("environment-cache")


@pytest.fixture(scope="module")
def server_options(cache: Path) -> dict[str, Any]:
    return {"settings": {"environment-cache-directory": str(cache)}}


def write(
    repository: Path, name: str, environment: str | Path, expression: str = FACTS, more: str = ""
) -> Path:
    text = config(*TENSORS, more=parameters(EXECUTION_ENV_PATH=str(environment)) + more)
    return write_model(repository, name, telling(expression), text)


def facts_of(client: Client, model: str) -> tuple[str, str, dict[str, str]]:
    client.load(model)
    prefix, executable, environment = json.loads(client.error(model, ONE))
    return prefix, executable, environment


def unpacked(cache: Path) -> list[Path]:
    return [marker.parent for marker in cache.glob("environments/*/complete.json")]


def log_of(server: TritonServer, model: str) -> list[str]:
    return [line for line in server.log().splitlines() if f"model '{model}'" in line]


def test_a_folder_is_used_where_it_is(
    http: Client, repository: Path, server: TritonServer, venv: Path
) -> None:
    write(repository, "folder", venv)
    prefix, executable, environment = facts_of(http, "folder")
    http.unload("folder")

    assert prefix == str(venv)
    assert Path(executable).parent == venv / "bin"
    assert environment["VIRTUAL_ENV"] == str(venv)
    assert environment["PATH"].split(os.pathsep)[0] == str(venv / "bin")
    assert any(f"runs in {executable}" in line and str(venv) in line for line in log_of(server, "folder"))
    assert "VIRTUAL_ENV" not in server.process.environment()


def test_the_models_folder_may_be_named_anywhere_in_the_path(
    http: Client, repository: Path, server: TritonServer
) -> None:
    folder = write(repository, "inside", "/..$$TRITON_MODEL_DIRECTORY/env")
    make_venv(folder / "env")
    prefix, _, _ = facts_of(http, "inside")
    http.unload("inside")
    assert Path(prefix).resolve() == folder / "env"


def test_an_archive_is_unpacked_once_and_again_when_it_changes(
    http: Client, repository: Path, server: TritonServer, packable: Path, cache: Path, tmp_path: Path
) -> None:
    own = pack(packable, tmp_path / "env.tar.gz")
    before = set(unpacked(cache))
    write(repository, "packed", own)
    prefix, _, environment = facts_of(http, "packed")
    (entry,) = set(unpacked(cache)) - before
    assert Path(prefix) == entry / "env"
    assert environment["VIRTUAL_ENV"] == prefix
    assert environment["PYTHONNOUSERSITE"] == "1"
    made = (entry / "env").stat().st_ctime_ns

    http.unload("packed")
    assert facts_of(http, "packed")[0] == prefix
    assert (entry / "env").stat().st_ctime_ns == made
    http.unload("packed")

    (packable / "changed.txt").write_text("x")
    pack(packable, own)
    (packable / "changed.txt").unlink()
    changed = Path(facts_of(http, "packed")[0])
    http.unload("packed")
    assert changed != Path(prefix)
    assert (changed / "changed.txt").exists()


def test_eight_models_that_load_at_once_share_one_archive(
    start_server: StartServer, packable: Path, tmp_path: Path
) -> None:
    add_filler(packable, 100)
    own = pack(packable, tmp_path / "shared.tar.gz")
    (packable / "filler.bin").unlink()
    cache = tmp_path / "cache"
    server = start_server(settings={"environment-cache-directory": str(cache)})
    names = [f"m{number}" for number in range(8)]
    for name in names:
        write(server.start.repository, name, own)

    def load(name: str) -> str:
        with Client(server) as client:
            return facts_of(client, name)[0]

    with ThreadPoolExecutor(len(names)) as pool:
        prefixes = set(pool.map(load, names))

    (entry,) = unpacked(cache)
    assert prefixes == {str(entry / "env")}
    assert sum("unpacking" in line for line in server.log().splitlines() if "took" not in line) == 1


def test_making_an_environment_may_take_longer_than_the_first_message_of_a_stub(
    start_server: StartServer, packable: Path, tmp_path: Path
) -> None:
    """The limit leaves room for the start of a Python on a busy machine."""
    script = packable / "bin" / "conda-unpack"
    script.write_text("import time\ntime.sleep(8)\n")
    own = pack(packable, tmp_path / "slow.tar.gz")
    script.unlink()
    server = start_server(
        settings={"environment-cache-directory": str(tmp_path / "cache"), "stub-timeout-seconds": "5"}
    )
    write(server.start.repository, "m", own)
    with Client(server) as client:
        client.load("m")
    (took,) = [line for line in server.log().splitlines() if " took " in line]
    assert re.search(r"conda-unpack \d+\.\d s", took)


@pytest.mark.parametrize("killed", ["launcher", "server"])
def test_a_death_in_the_middle_of_unpacking_leaves_nothing_that_counts(
    killed: str, start_server: StartServer, packable: Path, tmp_path: Path
) -> None:
    add_filler(packable, 800)
    own = pack(packable, tmp_path / "large.tar.gz")
    (packable / "filler.bin").unlink()
    cache = tmp_path / "cache"
    options = {"settings": {"environment-cache-directory": str(cache)}}
    server = start_server(**options)
    write(server.start.repository, "m", own)
    errors: list[str] = []
    with Client(server) as client:
        loading = threading.Thread(target=lambda: errors.append(_error_of(client)))
        loading.start()
        wait_until("the unpacking to begin", lambda: any(cache.glob("environments/*/env/bin")))
        (launcher,) = server.stubs()
        if killed == "launcher":
            os.kill(launcher.pid, signal.SIGKILL)
        else:
            server.kill()
        loading.join()
    wait_until("the launcher's end", lambda: not launcher.alive)
    assert not unpacked(cache)
    if killed == "launcher":
        assert "was killed by signal 9" in errors[0]
        assert server.is_live()
    else:
        server.discard()
        repository = server.start.repository
        server = start_server(repository=repository, **options)
    with Client(server) as client:
        prefix, _, _ = facts_of(client, "m")
    assert unpacked(cache) == [Path(prefix).parent]
    leftovers = {entry.name for entry in (cache / "environments").iterdir()}
    assert leftovers == {Path(prefix).parent.name, f"{Path(prefix).parent.name}.lock", "known"}


def _error_of(client: Client) -> str:
    try:
        client.load("m")
    except Exception as error:  # of the client, or of its lost connection
        return str(error)
    return ""


def _nothing(folder: Path) -> Path:
    return folder / "missing.tar.gz"


def _not_an_environment(folder: Path) -> Path:
    (folder / "env").mkdir()
    return folder / "env"


def _corrupt(folder: Path) -> Path:
    (folder / "env.tar.gz").write_bytes(b"\x1f\x8b\x08\x00" + bytes(1000))
    return folder / "env.tar.gz"


def _text(folder: Path) -> Path:
    (folder / "env.tar.gz").write_text("no archive\n" * 100)
    return folder / "env.tar.gz"


def _without_numpy(folder: Path) -> Path:
    venv = make_venv(folder / "env")
    next(venv.glob("lib/python*/site-packages/*.pth")).unlink()
    return venv


def _other_machine(folder: Path) -> Path:
    (folder / "env" / "bin").mkdir(parents=True)
    program = folder / "env" / "bin" / "python3"
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + (0xF3).to_bytes(2, "little")
    program.write_bytes(header + bytes(100))
    program.chmod(0o755)
    return folder / "env"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (_nothing, "missing.tar.gz"),
        (_not_an_environment, "bin/python"),
        (_corrupt, "env.tar.gz"),
        (_text, "env.tar.gz"),
        (_without_numpy, "numpy"),
        (_other_machine, "bin/python3"),
        (lambda _: Path("relative/env"), "relative/env"),
    ],
)
def test_what_cannot_be_used_fails_the_load_with_its_name_and_what_to_do(
    make: Any, expected: str, http: Client, repository: Path, server: TritonServer, tmp_path: Path
) -> None:
    place = make(tmp_path)
    write(repository, "bad", place)
    error = http.load_error("bad")
    assert expected in error
    assert str(place) in error
    assert "healthy" not in error
    assert server.is_live()


def test_a_stub_of_ours_in_the_models_folder_names_the_python(
    http: Client, repository: Path, server: TritonServer, venv: Path
) -> None:
    folder = write_model(repository, "with_stub", telling(FACTS), config(*TENSORS))
    stub = folder / "triton_python_backend_stub"
    stub.write_text(
        f"#!{venv}/bin/python3\nimport sys\n"
        "from triton_python_backend_utils.stub_command import main\nsys.exit(main())\n"
    )
    stub.chmod(0o755)
    prefix, _, _ = facts_of(http, "with_stub")
    http.unload("with_stub")
    assert prefix == str(venv)


def test_a_stub_that_is_not_ours_is_not_run(http: Client, repository: Path, server: TritonServer) -> None:
    folder = write_model(repository, "foreign", telling(FACTS), config(*TENSORS))
    trace = folder / "was_run"
    stub = folder / "triton_python_backend_stub"
    stub.write_text(f"#!/bin/sh\ntouch {trace}\n")
    stub.chmod(0o755)
    prefix, _, _ = facts_of(http, "foreign")
    http.unload("foreign")
    write_model(repository, "plain", telling(FACTS), config(*TENSORS))
    default, _, _ = facts_of(http, "plain")
    http.unload("plain")
    assert not trace.exists()
    assert prefix == default
    assert any("not run" in line and str(stub) in line for line in log_of(server, "foreign"))


def test_activation_hooks_of_a_conda_prefix_reach_the_model(
    http: Client, repository: Path, server: TritonServer, tmp_path: Path
) -> None:
    prefix = tmp_path / "prefix"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python3").symlink_to(Path(sys.executable).resolve())
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta" / "history").write_text("")
    hooks = prefix / "etc" / "conda" / "activate.d"
    hooks.mkdir(parents=True)
    (hooks / "a.sh").write_text(
        f'export FROM_THE_HOOK="$CONDA_PREFIX and\nmore"\nexport PYTHONPATH={NUMPY_PARENT}\n'
    )
    write(repository, "conda", prefix)
    _, _, environment = facts_of(http, "conda")
    http.unload("conda")
    assert environment["CONDA_PREFIX"] == str(prefix)
    assert environment["FROM_THE_HOOK"] == f"{prefix} and\nmore"


def test_a_python_without_a_shared_library_runs_models(
    http: Client, repository: Path, server: TritonServer, tmp_path: Path
) -> None:
    """Debian's is one."""
    python = Path("/usr/bin/python3")
    same = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not python.exists() or not python.resolve().name.endswith(same):
        pytest.skip(f"no /usr/bin/python3 of version {same}")
    write(repository, "system", make_venv(tmp_path / "env", python))
    prefix, _, _ = facts_of(http, "system")
    http.unload("system")
    assert prefix == str(tmp_path / "env")


def test_a_model_that_asks_for_no_environment_is_started_without_the_launcher(
    start_server: StartServer, backend_dir: Path, venv: Path, tmp_path: Path
) -> None:
    backends = tmp_path / "backends"
    shutil.copytree(backend_dir, backends)
    launcher = backends / "python" / "triton_python_backend_utils" / "launch" / "launcher.py"
    launcher.write_text("raise SystemExit(9)\n")
    server = start_server(backend_dir=backends)
    write_model(server.start.repository, "plain", telling(FACTS), config(*TENSORS))
    write(server.start.repository, "with_environment", venv)
    with Client(server) as client:
        client.load("plain")
        assert "exited with status 9" in client.load_error("with_environment")


def test_an_environment_in_use_is_not_evicted(
    start_server: StartServer, packable: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    server = start_server(
        settings={"environment-cache-directory": str(cache), "environment-cache-max-byte-size": "1"}
    )
    prefixes = []
    with Client(server) as client:
        for number in range(3):
            (packable / "number.txt").write_text(str(number))
            own = pack(packable, tmp_path / f"env{number}.tar.gz")
            write(server.start.repository, f"m{number}", own)
            prefixes.append(Path(facts_of(client, f"m{number}")[0]))
            if number == 1:
                client.unload("m0")
                wait_until("the stub of m0 to end", lambda: len(server.stubs()) == 1)
        assert not prefixes[0].exists()
        assert prefixes[1].exists()
        assert prefixes[2].exists()
        assert json.loads(client.error("m1", ONE))[0] == str(prefixes[1])
