"""What docs/cli.md says is true: its examples run, and it has every option of every command."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from command import Ports, wait_for_line
from environments import borrow_numpy, venv
from trees import copy_of_server

from triton_python._cli import app
from triton_python._download import PYTRITON, server_folder

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "cli.md").read_text()
ADD_SUB = ROOT / "examples" / "add_sub"
COMMANDS = (
    "serve",
    "doctor",
    "install",
    "uninstall",
    "backend-dir",
    "server path",
    "server install",
    "server remove",
    "env pack",
    "env check",
    "env list",
    "env prune",
    "stub build",
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def bash_lines() -> Iterator[str]:
    for block in blocks("bash"):
        yield from block.splitlines()


def section(command: str) -> str:
    """What stands under the heading that the command has, alone or with others."""
    heading = {
        "uninstall": "install",
        **{f"server {name}": "server" for name in ("path", "install", "remove")},
        "stub build": "stub",
    }
    return TEXT.split(f"\n## `triton-python {heading.get(command, command)}`\n")[1].split("\n## ")[0]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, triton_server_binary: Path) -> Path:
    """A folder as the examples take for granted, with a managed server that need not be fetched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("TRITON_SERVER", raising=False)
    root = triton_server_binary.resolve().parents[1]
    copy_of_server(root, server_folder(PYTRITON))
    copy_of_server(root, tmp_path / "opt")
    place = tmp_path / "place"
    for name, folder in (("add_sub", "models"), ("other", "more-models")):
        (place / folder / name / "1").mkdir(parents=True)
        (place / folder / name / "1" / "model.py").write_text((ADD_SUB / "model.py").read_text())
        config = (ADD_SUB / "config.pbtxt").read_text().replace('"add_sub"', f'"{name}"')
        (place / folder / name / "config.pbtxt").write_text(config)
    (place / "my_model").mkdir()
    for name in ("model.py", "config.pbtxt"):
        (place / "my_model" / name).write_text((ADD_SUB / name).read_text())
    (place / ".venv").symlink_to(sys.prefix)
    borrow_numpy(venv(place / "my_env"))
    return place


def fitted(line: str, place: Path, ports: Ports) -> str:
    """The line for this machine: on free ports of its own, in a folder that it may write to."""
    (server,) = (place.parent / "opt").glob("*/tritonserver")
    line = line.partition("#")[0].rstrip().replace("/opt/tritonserver", str(server)).removeprefix("sudo ")
    if not re.search(r"triton-python (serve|doctor)\b|--model-repository", line):
        return line
    if "--model-repository" in line:
        addresses = [f"--{name}-address=127.0.0.1" for name in ports.of]
        return f"{line} {shlex.join([*addresses, *ports.options()[1:]])}"
    options = [one for one in ports.options() if "--local" not in line or not one.startswith("--host")]
    before, dashes, after = line.partition(" -- ")
    return f"{before} {shlex.join(options)}{dashes}{after}"


@pytest.mark.parametrize(
    "line", [line for line in bash_lines() if re.search(r"python serve\b|--model-repo", line)]
)
def test_the_examples_that_start_a_server_serve(place: Path, line: str) -> None:
    ports = Ports()
    command = ["bash", "-c", f"exec {fitted(line, place, ports)}"]
    with subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True) as process:
        try:
            log = wait_for_line(process, f"127.0.0.1:{ports.of['metrics']}")
            assert not [entry for entry in log if "UNAVAILABLE" in entry]
            process.send_signal(signal.SIGTERM)
            process.communicate()
        finally:
            process.kill()
    assert process.returncode == 0


@pytest.mark.parametrize(
    "block", [block for block in blocks("bash") if not re.search(r"python serve\b|--model-repo", block)]
)
def test_the_other_examples_run(place: Path, block: str) -> None:
    ports = Ports()
    script = "\n".join(["set -e", *(fitted(line, place, ports) for line in block.splitlines())])

    result = subprocess.run(["bash", "-c", script], cwd=place, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result


def test_the_examples_in_python_run(place: Path) -> None:
    (code,) = blocks("python")

    result = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr
    assert "\nmodels ok 1 found: add_sub" in result.stdout


def test_the_announcement_is_as_shown(place: Path) -> None:
    (shown,) = blocks("text")
    ports = Ports()
    line = fitted("triton-python serve models", place, ports)
    with subprocess.Popen(shlex.split(line), cwd=place, stderr=subprocess.PIPE, text=True) as process:
        try:
            wanted = shown.splitlines()
            log = wait_for_line(process, "triton-python:   metrics")[-len(wanted) :]
        finally:
            process.terminate()
            process.communicate()

    assert [re.sub(r":\d+", ":PORT", entry) for entry in log] == [
        re.sub(r":\d+", ":PORT", entry) for entry in wanted
    ]


def test_the_json_has_the_shape_that_is_shown(place: Path) -> None:
    (shown,) = blocks("json")
    line = fitted("triton-python doctor --json", place, Ports())

    printed = json.loads(subprocess.run(shlex.split(line), cwd=place, capture_output=True, check=True).stdout)

    example = json.loads(shown)
    assert list(printed) == list(example)
    assert {tuple(check) for check in printed["checks"]} == {tuple(example["checks"][0])}
    assert example["checks"][0]["name"] in [check["name"] for check in printed["checks"]]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented_and_no_other(name: str) -> None:
    command = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("-")}

    text = section(name)
    if name.startswith("server"):
        text = text.split(f"- `{name}`")[1].split("\n- ")[0]
    else:
        text = "\n".join(row.split("|")[1] for row in text.splitlines() if row.startswith("| `-"))
    assert set(re.findall(r"`(-{1,2}[a-z-]+)", text)) == options - {"--help"}
