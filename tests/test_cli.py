"""The command `triton-python`: what it is made of, and the commands that only print something."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from command import RECORDER, complaint, is_this_python, run, stand_in_server, usage_error

from triton_python import __version__, _cli_env, _config_text, _options

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("serve", "doctor", "install", "uninstall", "backend-dir", "server", "env", "stub")
GROUPS = {
    "server": ("path", "install", "remove"),
    "env": ("pack", "check", "list", "prune"),
    "stub": ("build",),
}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folders composed here are of no use to anybody."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def commands_in_help(*command: str) -> set[str]:
    """The names that `--help` lists."""
    text = run(*command, "--help").stdout
    listed = text[text.index("Commands") :]
    return set(re.findall(r"^│ ([a-z-]+) ", listed, re.MULTILINE))


def test_version() -> None:
    assert run("--version").stdout == f"triton-python {__version__}\n"


def test_it_runs_as_a_module_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "triton_python", "--version"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    assert result.stdout == f"triton-python {__version__}\n"


@pytest.mark.parametrize("module", [_cli_env, _config_text, _options], ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_are_right(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)

    assert tried > 0
    assert failed == 0


def test_help_lists_every_command() -> None:
    assert commands_in_help() == set(COMMANDS)
    for group, commands in GROUPS.items():
        assert commands_in_help(group) == set(commands)


def test_the_table_of_the_readme_lists_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    table = re.findall(r"^\| `triton-python ([a-z-]+(?: [a-z-]+)?)[^`]*` \|", text, re.MULTILINE)

    in_groups = {f"{group} {name}" for group, commands in GROUPS.items() for name in commands}
    assert sorted(table) == sorted({*COMMANDS} - {*GROUPS} | in_groups)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve",), "Missing argument 'REPOSITORY'"),
        (("serve", "models", "--http-port", "many"), "Invalid value for '--http-port'"),
        (("serve", "models", "--grpc-port", "0"), "Invalid value for '--grpc-port'"),
        (("serve", "models", "--server"), "Option '--server' requires an argument"),
        (("install",), "Missing argument 'DIR'"),
        (("uninstall",), "Missing argument 'DIR'"),
        (("doctor", "--bogus"), "No such option: --bogus"),
        (("bogus",), "No such command 'bogus'"),
    ],
)
def test_a_wrong_call_ends_with_2_and_says_why(arguments: tuple[str, ...], said: str) -> None:
    assert said in usage_error(run(*arguments))


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
