"""`triton_python_backend_stub`: what it says to people, and to a backend that it is not for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(sys.executable).with_name("triton_python_backend_stub")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *arguments], cwd="/", capture_output=True, text=True, check=False)


def test_the_script_that_pip_writes_has_the_mark_of_ours() -> None:
    assert "from triton_python_backend_utils.stub_command import main" in SCRIPT.read_text().splitlines()


def test_it_says_which_python_it_selects_and_how() -> None:
    for arguments in ([], ["--help"]):
        result = run(*arguments)

        assert result.returncode == 0, result
        assert f"{sys.executable} (Python {sys.version.split()[0]})" in result.stdout
        assert f"cp {SCRIPT} MODEL_REPOSITORY/MODEL/triton_python_backend_stub" in result.stdout
        assert result.stderr == ""


def test_started_by_another_backend_it_says_what_to_do() -> None:
    # As NVIDIA's backend starts its stub: model, memory, sizes, process, folder, handle, name, environment.
    result = run(
        "/m/1/model.py", "region", "1048576", "1048576", "25464", "/b/python", "336", "m_0_0", "DEFAULT"
    )

    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "another Python backend of Triton has started it (for /m/1/model.py)" in line
    assert "triton-python install DIR" in line
