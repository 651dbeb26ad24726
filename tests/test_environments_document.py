"""What docs/environments.md says is true: its commands run in their order, and its lines are as shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from environments import borrow_numpy

TEXT = (Path(__file__).parents[1] / "docs" / "environments.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def write_model(folder: Path, environment: str) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text("import numpy\n")
    (shown,) = blocks("protobuf")
    assert "/opt/environments/torch" in shown
    (folder / "config.pbtxt").write_text(shown.replace("/opt/environments/torch", environment))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, environment in re.findall(
        r'`(?:models/(\w+)/config.pbtxt` has )?`?string_value: "(\$\$[^"]*)"`', TEXT
    ):
        write_model(tmp_path / "models" / (name or "in_archive"), environment)
    return tmp_path


def in_bash(script: str, place: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(place / "cache")}
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=place, env=environment, capture_output=True, text=True, check=False
    )


def test_the_commands_run_one_after_the_other(place: Path) -> None:
    said = []
    for line in "".join(blocks("bash")).splitlines():
        if " pip install numpy" in line:  # without the network
            borrow_numpy(next((place / "my_env" / "lib").glob("python*/site-packages")))
            continue
        result = in_bash(line.replace("env pack", "env pack --fast"), place)
        assert result.returncode == 0, (line, result.stdout, result.stderr)
        said.append(result.stdout)

    in_folder, _, in_archive, listed, _ = said[1:] if not said[0] else said
    assert f"{place}/models/in_folder/../../my_env/bin/python3: EXECUTION_ENV_PATH" in in_folder
    assert f"{place}/cache/triton-python/environments/" in in_archive
    assert f"{place}/models/in_archive/my_env.tar.gz" in listed


def test_the_lines_of_the_check_are_as_shown(place: Path) -> None:
    (shown,) = blocks("text")
    in_bash("python3 -m venv --without-pip my_env", place)
    borrow_numpy(next((place / "my_env" / "lib").glob("python*/site-packages")))
    model = place / "models" / "in_folder"
    (model / "1" / "model.py").write_text("import numpy\nimport no_such_torch\n")

    printed = in_bash("triton-python env check models/in_folder", place).stdout

    assert [line[:25] for line in printed.splitlines()] == [line[:25] for line in shown.splitlines()]
    wanted = "imports what is missing there: torch; it has numpy "
    assert wanted in shown
    assert wanted.replace("torch", "no_such_torch") in printed
