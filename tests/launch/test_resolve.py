"""Which Python runs a model: from its configuration and its folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hearing import Heard
from making import conda_prefix, pretender, python_of, venv
from packing import PACKERS, environment, file, link, tar
from resolving import config, refusal, resolved
from restricted import without_powers

import triton_python_backend_utils
from triton_python_backend_utils.launch.problem import EnvironmentProblem
from triton_python_backend_utils.launch.resolve import (
    PARAMETER,
    Settings,
    core_directories,
    environment_path,
    resolve,
)

SOURCES = str(Path(triton_python_backend_utils.__file__).parent.parent)


def test_a_model_that_asks_for_nothing_gets_the_default_python(model: Path, settings: Settings) -> None:
    found = resolved(None, model, settings)

    assert found.python == Path(sys.executable)
    assert (found.environment, found.reason, found.facts) == ("", "the default Python", None)
    assert found.environ == dict(os.environ)
    assert not (settings.cache_directory or model).joinpath("environments").exists()


@pytest.mark.parametrize("parameters", [None, {}, {"OTHER": {"string_value": "EXECUTION_ENV_PATH"}}])
def test_a_configuration_without_the_parameter_has_none(parameters: object) -> None:
    assert environment_path({"parameters": parameters}) is None
    assert environment_path({}) is None


@pytest.mark.parametrize("parameter", [{}, {"string_value": ""}, {"string_value": "  "}, {"string_value": 3}])
def test_an_empty_value_is_refused(parameter: object) -> None:
    with pytest.raises(EnvironmentProblem, match="the parameter EXECUTION_ENV_PATH is empty"):
        environment_path({"parameters": {PARAMETER: parameter}})


def test_a_folder_is_used_where_it_is(model: Path, settings: Settings, tmp_path: Path) -> None:
    folder = venv(tmp_path / "venv")
    heard = Heard()

    found = resolved(folder, model, settings, heard)

    assert found.python == folder / "bin" / "python3"  # not what it is a link to
    assert found.prefix == folder
    assert found.environment == str(folder)
    assert found.environ["VIRTUAL_ENV"] == str(folder)
    assert "PYTHONNOUSERSITE" not in found.environ
    assert found.facts is not None
    assert found.facts.prefix == str(folder)
    assert (found.keep_open, found.phases) == ([], [])
    assert heard.steps == [f"runs in {folder}/bin/python3 (EXECUTION_ENV_PATH {folder})"]


def test_a_link_to_a_folder_stays_a_link(model: Path, settings: Settings, tmp_path: Path) -> None:
    """What it leads to may be exchanged while models run; each keeps the name that it was given."""
    venv(tmp_path / "venv")
    (tmp_path / "current").symlink_to("venv")

    assert resolved(tmp_path / "current", model, settings).python == tmp_path / "current" / "bin" / "python3"


@pytest.mark.parametrize("kind", PACKERS)
def test_an_archive_is_unpacked_into_the_cache(
    model: Path, settings: Settings, tmp_path: Path, kind: str
) -> None:
    source = conda_prefix(tmp_path / "source", hook="export HOOK=$CONDA_PREFIX\n")
    archive = PACKERS[kind](source, tmp_path / "env")
    heard = Heard()

    found = resolve(config(str(archive)), model, settings, heard)

    assert settings.cache_directory is not None
    assert found.prefix.is_relative_to(settings.cache_directory / "environments")
    assert found.environ["HOOK"] == str(found.prefix)
    assert found.environ["PYTHONNOUSERSITE"] == "1"
    assert [name for name, _ in found.phases] == ["hashing", "unpacking", "activating"]
    (lock,) = found.keep_open
    assert Path(f"/proc/self/fd/{lock}").resolve().suffix == ".lock"
    os.close(lock)
    assert heard.steps[-1].startswith(f"runs in {found.python} (EXECUTION_ENV_PATH {archive}): hashing 0.")
    assert heard.steps[-1].count(" s") == 3


def test_a_packed_environment_that_is_a_folder_already_keeps_the_users_packages_out(
    model: Path, settings: Settings, tmp_path: Path
) -> None:
    folder = conda_prefix(tmp_path / "conda")
    (folder / "bin" / "conda-unpack").write_text("raise RuntimeError('is not run')")

    assert resolved(folder, model, settings).environ["PYTHONNOUSERSITE"] == "1"


@pytest.mark.parametrize(
    "value",
    ["$$TRITON_MODEL_DIRECTORY/env", "{root}/$$TRITON_MODEL_DIRECTORY/../$$TRITON_MODEL_DIRECTORY/env"],
)
def test_the_models_folder_is_put_in_wherever_it_is_named(
    model: Path, settings: Settings, tmp_path: Path, value: str
) -> None:
    venv(model / "env")
    root = tmp_path / "root"
    (root / str(model)[1:]).mkdir(parents=True)
    nested = root / str(model)[1:] / ".." / str(model)[1:]
    nested.mkdir(parents=True)
    venv(nested / "env")

    found = resolved(value.replace("{root}", str(root)), model, settings)

    assert found.environment == value.replace("{root}", str(root))
    assert found.prefix == Path(found.environment.replace("$$TRITON_MODEL_DIRECTORY", str(model)))


def test_a_repository_that_was_named_relatively_is_made_absolute(
    model: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv(model / "env")
    monkeypatch.chdir(model.parent.parent)

    found = resolved("$$TRITON_MODEL_DIRECTORY/env", Path("repository/a model"), settings)

    assert found.prefix == model / "env"


@pytest.mark.parametrize("value", ["env", "./env.tar.gz", "$TRITON_MODEL_DIRECTORY/env", "~/env"])
def test_a_relative_path_is_refused(model: Path, settings: Settings, value: str) -> None:
    text = refusal(value, model, settings)

    assert text.startswith(f"EXECUTION_ENV_PATH {value} is a relative path")
    assert "$$TRITON_MODEL_DIRECTORY/" in text


def test_an_interpreter_may_be_named_itself(model: Path, settings: Settings, tmp_path: Path) -> None:
    folder = venv(tmp_path / "venv")

    found = resolved(folder / "bin" / "python", model, settings)

    assert (found.python, found.prefix) == (folder / "bin" / "python", folder)
    assert found.environ["VIRTUAL_ENV"] == str(folder)


def test_an_interpreter_outside_of_bin_has_the_prefix_that_it_says(
    model: Path, settings: Settings, tmp_path: Path
) -> None:
    python = tmp_path / "my-python"
    python.symlink_to(os.path.realpath(sys.executable))

    found = resolved(python, model, settings)

    assert found.python == python
    assert str(found.prefix) == sys.base_prefix


@pytest.mark.parametrize("place", ["shims", "bin"])
def test_a_script_that_starts_an_interpreter_is_asked_which(
    model: Path, settings: Settings, tmp_path: Path, place: str
) -> None:
    """As the shims of pyenv: they take long, and depend on the current folder."""
    folder = venv(tmp_path / "venv")
    shim = tmp_path / place / "python3"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {folder}/bin/python3 "$@"\n')
    shim.chmod(0o755)

    found = resolved(shim, model, settings)

    assert (found.python, found.prefix) == (folder / "bin" / "python3", folder)
    assert found.environ["VIRTUAL_ENV"] == str(folder)


def test_the_python_of_a_folder_may_be_a_script(model: Path, settings: Settings, tmp_path: Path) -> None:
    found = resolved(conda_prefix(tmp_path / "conda"), model, settings)

    assert found.prefix == tmp_path / "conda"
    assert found.environ["CONDA_PREFIX"] == str(tmp_path / "conda")
    assert not found.python.is_relative_to(tmp_path)


@pytest.mark.parametrize("version", ["3.9", "3.13"])
def test_environments_of_other_versions_are_used(
    model: Path, settings: Settings, tmp_path: Path, version: str
) -> None:
    folder = venv(tmp_path / "venv", python_of(version))

    facts = resolved(folder, model, settings).facts

    assert facts is not None
    assert facts.version_text().startswith(version)


def test_the_folder_of_a_pyenv_version_is_used(model: Path, settings: Settings) -> None:
    python = python_of("3.9")
    if ".pyenv" not in str(python):
        pytest.skip("there is no pyenv with Python 3.9 on this machine")

    assert resolved(python.parent.parent, model, settings).python == python.parent / "python3"


def test_a_path_that_is_missing_is_refused(model: Path, settings: Settings, tmp_path: Path) -> None:
    text = refusal("$$TRITON_MODEL_DIRECTORY/env.tar.gz", model, settings)

    assert text == (
        f"EXECUTION_ENV_PATH names {model}/env.tar.gz ($$TRITON_MODEL_DIRECTORY/env.tar.gz), which does not "
        "exist. Check the path; in a container, check that it is mounted there"
    )
    assert "which does not exist" in refusal(f"{sys.executable}/env", model, settings)


def test_a_folder_that_is_no_environment_is_refused(model: Path, settings: Settings, tmp_path: Path) -> None:
    assert refusal(tmp_path, model, settings).startswith(f"{tmp_path} is not a Python environment: ")


@pytest.mark.parametrize(("content", "what"), [(b"", "is empty"), (b"hello", "is none of them")])
def test_a_file_that_is_nothing_of_use_is_refused(
    model: Path, settings: Settings, tmp_path: Path, content: bytes, what: str
) -> None:
    path = tmp_path / "env.tar.gz"
    path.write_bytes(content)

    text = refusal(path, model, settings)

    assert text.startswith(
        f"EXECUTION_ENV_PATH names {path}, which {what}: expected an environment's folder, "
    )
    assert ".tar.gz" in text


def test_a_pipe_is_refused_and_not_waited_for(model: Path, settings: Settings, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "env.tar.gz")

    assert "which is neither a folder nor a file" in refusal(tmp_path / "env.tar.gz", model, settings)


def test_a_broken_archive_is_refused(model: Path, settings: Settings, tmp_path: Path) -> None:
    archive = environment(tmp_path / "env.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-9])

    assert f"{archive} is damaged or incomplete" in refusal(archive, model, settings)


def test_an_archive_for_another_machine_is_refused(model: Path, settings: Settings, tmp_path: Path) -> None:
    program = bytearray(Path("/bin/true").read_bytes())
    program[18:20] = (22).to_bytes(2, "little")
    archive = tar(tmp_path / "env.tar", file("bin/python3", bytes(program), 0o755))

    text = refusal(archive, model, settings)

    assert f"bin/python3 is a program for s390x, and this machine is {os.uname().machine}" in text


def test_an_archive_of_an_old_python_is_refused(model: Path, settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "source"
    pretender(source / "bin" / "python3", version=[3, 8, 20])
    archive = PACKERS["gzip"](source, tmp_path / "env.tar.gz")

    text = refusal(archive, model, settings)

    assert "Python 3.8.20 (" in text
    assert "is too old: models need 3.9 or newer" in text


def test_an_archive_whose_links_lead_elsewhere_is_refused(
    model: Path, settings: Settings, tmp_path: Path
) -> None:
    archive = tar(tmp_path / "env.tar", link("bin/python3", "/usr/bin/python3"))

    text = refusal(archive, model, settings)

    assert "its entry 'bin/python3' is a link to /usr/bin/python3" in text
    assert text.endswith("Pack it with `triton-python env pack`")


@pytest.mark.parametrize("what", ["archive", "folder"])
def test_what_cannot_be_read_is_refused(model: Path, settings: Settings, tmp_path: Path, what: str) -> None:
    path = tmp_path / "closed" / "env"
    path.parent.mkdir()
    if what == "archive":
        environment(path).chmod(0)
    else:
        venv(path)
        path.parent.chmod(0)
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from triton_python_backend_utils.launch.resolve import resolve\n"
        "resolve({'parameters': {'EXECUTION_ENV_PATH': {'string_value': sys.argv[1]}}}, Path('/'))\n"
    )

    result = subprocess.run(
        without_powers([sys.executable, "-B", "-c", code, str(path), SOURCES]),
        capture_output=True,
        text=True,
        check=False,
    )
    path.parent.chmod(0o700)

    said = f"EXECUTION_ENV_PATH names {path}, which the user of the server (uid {os.geteuid()}) cannot read"
    assert f"{said}: Permission denied" in result.stderr


def test_warnings_of_hooks_are_in_the_result(model: Path, settings: Settings, tmp_path: Path) -> None:
    found = resolved(conda_prefix(tmp_path / "conda", a="return 1\n"), model, settings)

    assert len(found.warnings) == 1
    assert "a.sh failed (exit status 1)" in found.warnings[0]


def test_a_problem_after_unpacking_lets_go_of_the_environment(
    model: Path, settings: Settings, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    pretender(source / "bin" / "python3", implementation="pypy")

    text = refusal(PACKERS["tar"](source, tmp_path / "env"), model, settings)  # which counts descriptors

    assert "is pypy and not CPython" in text


def test_folders_of_compiled_parts_are_those_that_only_we_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    assert core_directories(cache) == []
    (cache / "cores").mkdir(parents=True)
    cache.chmod(0o700)
    (cache / "cores").chmod(0o700)
    assert core_directories(cache) == [cache / "cores"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache.rename(tmp_path / "triton-python")
    assert core_directories(None)[0] == tmp_path / "triton-python" / "cores"

    (tmp_path / "triton-python" / "cores").chmod(0o770)
    assert tmp_path / "triton-python" / "cores" not in core_directories(None)
    (tmp_path / "triton-python" / "cores").chmod(0o700)
    (tmp_path / "triton-python").chmod(0o777)
    assert tmp_path / "triton-python" / "cores" not in core_directories(None)
