"""The variables of an activated environment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hearing import Heard
from making import conda_prefix, venv

from triton_python_backend_utils.launch.activation import activated

OUTSIDE = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/root",
    "LD_LIBRARY_PATH": "/opt/server/lib",
    "SECRET": "a\nb=c\n",
}


def activate(
    prefix: Path, heard: Heard, environ: dict[str, str] = OUTSIDE, **options: object
) -> dict[str, str]:
    before = dict(environ)
    process = dict(os.environ)

    after = activated(environ, prefix, False, heard.alive, heard.warn, **options)  # type: ignore[arg-type]

    assert environ == before
    assert dict(os.environ) == process
    return after


def test_a_venv_is_activated_as_its_script_does_it(tmp_path: Path, heard: Heard) -> None:
    folder = venv(tmp_path / "my-env")

    after = activate(folder, heard, {**OUTSIDE, "PYTHONHOME": "/opt/python"})

    assert after == {
        **OUTSIDE,
        "PATH": f"{folder}/bin:{OUTSIDE['PATH']}",
        "VIRTUAL_ENV": str(folder),
        "VIRTUAL_ENV_PROMPT": "my-env",
    }


@pytest.mark.parametrize(
    ("line", "prompt"), [("prompt = 'named'", "named"), ("prompt=x", "x"), ("prompt =", "env")]
)
def test_the_prompt_of_a_venv_is_the_one_it_was_given(
    tmp_path: Path, heard: Heard, line: str, prompt: str
) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pyvenv.cfg").write_text(f"home = /usr/bin\n{line}\n")

    assert activate(tmp_path / "env", heard)["VIRTUAL_ENV_PROMPT"] == prompt


@pytest.mark.parametrize(("below", "name"), [("envs/models", "models"), ("models", None)])
def test_a_conda_environment_is_activated(tmp_path: Path, heard: Heard, below: str, name: str | None) -> None:
    folder = conda_prefix(tmp_path / below)

    after = activate(
        folder, heard, {**OUTSIDE, "CONDA_SHLVL": "3", "CONDA_PREFIX": "/base", "PYTHONHOME": "x"}
    )

    assert after == {
        **OUTSIDE,
        "PATH": f"{folder}/bin:{OUTSIDE['PATH']}",
        "CONDA_PREFIX": str(folder),
        "CONDA_DEFAULT_ENV": name or str(folder),
        "CONDA_SHLVL": "1",
    }


def test_anything_else_changes_the_path_only(tmp_path: Path, heard: Heard) -> None:
    assert activate(tmp_path, heard) == {**OUTSIDE, "PATH": f"{tmp_path}/bin:{OUTSIDE['PATH']}"}


@pytest.mark.parametrize("path", [{}, {"PATH": ""}])
def test_an_empty_path_gets_no_empty_entry(tmp_path: Path, heard: Heard, path: dict[str, str]) -> None:
    """It would be the current folder."""
    assert activate(tmp_path, heard, path)["PATH"] == f"{tmp_path}/bin"


def test_packed_environments_do_not_see_the_users_packages(tmp_path: Path) -> None:
    assert activated(OUTSIDE, tmp_path, packed=True)["PYTHONNOUSERSITE"] == "1"
    assert "PYTHONNOUSERSITE" not in activated(OUTSIDE, tmp_path, packed=False)


@pytest.fixture(params=["bash", "sh"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Variables with which hooks are run by this shell: nothing else is on the PATH."""
    folder = tmp_path / "only"
    folder.mkdir()
    for name in (request.param, "env", "sleep"):
        program = shutil.which(name)
        assert program is not None
        (folder / name).symlink_to(program)
    return {**OUTSIDE, "PATH": str(folder)}


def test_hooks_are_run_in_order_and_see_each_other(
    tmp_path: Path, heard: Heard, shell: dict[str, str]
) -> None:
    folder = conda_prefix(
        tmp_path / "conda",
        b_second='export ORDER="$ORDER b:$FROM_A"\n',
        a_first='FROM_A="not exported"; export FROM_A\nexport ORDER=a ROOT=$CONDA_PREFIX\nunset SECRET\n',
    )

    after = activate(folder, heard, shell)

    assert after["ORDER"] == "a b:not exported"
    assert after["ROOT"] == str(folder)
    assert "SECRET" not in after
    assert set(after) - set(shell) == {
        "CONDA_PREFIX",
        "CONDA_DEFAULT_ENV",
        "CONDA_SHLVL",
        "ORDER",
        "ROOT",
        "FROM_A",
    }
    assert heard.warnings == []


def test_values_of_several_lines_survive(tmp_path: Path, heard: Heard, shell: dict[str, str]) -> None:
    folder = conda_prefix(tmp_path / "conda", one="export MORE='x\n\ny=z'\nexport BYTES=$(printf '\\351')\n")

    after = activate(folder, heard, {**shell, "SHLVL": "7", "PWD": "/odd", "_": "/bin/odd"})

    assert after["MORE"] == "x\n\ny=z"
    assert os.fsencode(after["BYTES"]) == b"\xe9"
    assert after["SECRET"] == OUTSIDE["SECRET"]
    assert (after["SHLVL"], after["PWD"], after["_"]) == ("7", "/odd", "/bin/odd")


def test_what_the_shell_sets_for_itself_is_not_taken_over(
    tmp_path: Path, heard: Heard, shell: dict[str, str]
) -> None:
    folder = conda_prefix(tmp_path / "conda", one="true\n")

    after = activate(folder, heard, shell)

    assert set(after) == {*OUTSIDE, "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "CONDA_SHLVL"}


def test_functions_that_a_hook_exports_are_ignored(tmp_path: Path, heard: Heard) -> None:
    folder = conda_prefix(tmp_path / "conda", one="f() { echo; }\nexport -f f\nexport A=1\n")

    after = activate(folder, heard)

    assert after["A"] == "1"
    assert not any("%%" in name or "()" in name for name in after)
    assert heard.warnings == []


def test_what_a_hook_prints_is_no_variable(tmp_path: Path, heard: Heard, shell: dict[str, str]) -> None:
    folder = conda_prefix(tmp_path / "conda", one="echo A=B; env -0; export C=D\n")

    after = activate(folder, heard, shell)

    assert "A" not in after
    assert after["C"] == "D"


def test_a_hook_has_no_arguments_and_no_input(tmp_path: Path, heard: Heard, shell: dict[str, str]) -> None:
    code = 'export COUNT=$# ; if read line; then export LINE="$line"; fi; true\n'
    folder = conda_prefix(tmp_path / "conda", a="export LD_LIBRARY_PATH=/x\n", b=code)

    after = activate(folder, heard, shell)

    assert after["COUNT"] == "0"
    assert "LINE" not in after


def test_a_hook_that_fails_is_told_and_the_others_count(
    tmp_path: Path, heard: Heard, shell: dict[str, str]
) -> None:
    folder = conda_prefix(
        tmp_path / "conda", a="export A=1\n", b="export B=1\necho oh no >&2\nreturn 3\n", c="export C=1\n"
    )

    after = activate(folder, heard, shell)

    assert (after["A"], after["B"], after["C"]) == ("1", "1", "1")
    hook = folder / "etc" / "conda" / "activate.d" / "b.sh"
    assert heard.warnings == [f"the activation hook {hook} failed (exit status 3): oh no"]


@pytest.mark.parametrize("code", ["exit 3", "set -e; false", "kill -9 $$", "if then"])
def test_a_hook_that_ends_its_shell_is_told(
    tmp_path: Path, heard: Heard, shell: dict[str, str], code: str
) -> None:
    folder = conda_prefix(tmp_path / "conda", a="export A=1\n", b=f"export B=1\n{code}\n", c="export C=1\n")

    after = activate(folder, heard, shell)

    assert (after["A"], after["C"]) == ("1", "1")
    (warning,) = heard.warnings
    assert warning.startswith(f"the activation hook {folder}/etc/conda/activate.d/b.sh failed (")
    assert ("B" in after) != ("what it sets is missing" in warning)


def test_a_hook_that_hangs_is_ended(tmp_path: Path, heard: Heard, shell: dict[str, str]) -> None:
    folder = conda_prefix(tmp_path / "conda", a="export A=1\nsleep 600\n", b="export B=1\n")

    after = activate(folder, heard, shell, hook_limit_s=1.0)

    assert "A" not in after
    assert after["B"] == "1"
    hook = folder / "etc" / "conda" / "activate.d" / "a.sh"
    assert heard.warnings == [
        f"the activation hook {hook} still ran after 1 s and was ended; what it sets is missing"
    ]
    assert heard.signs >= 3


def test_a_library_path_is_left_alone_unless_a_hook_sets_it(tmp_path: Path, heard: Heard) -> None:
    folder = conda_prefix(tmp_path / "conda")
    assert activate(folder, heard)["LD_LIBRARY_PATH"] == OUTSIDE["LD_LIBRARY_PATH"]
    conda_prefix(
        tmp_path / "other",
        a="export LD_LIBRARY_PATH=$CONDA_PREFIX/lib:$LD_LIBRARY_PATH LD_PRELOAD=\n",
        b="export SEEN=$LD_LIBRARY_PATH\n",
    )

    after = activate(tmp_path / "other", heard)

    assert after["LD_LIBRARY_PATH"] == f"{tmp_path}/other/lib:/opt/server/lib"
    assert after["SEEN"] == after["LD_LIBRARY_PATH"]


def test_the_library_path_of_one_hook_does_not_reach_the_shell_of_the_next(
    tmp_path: Path, heard: Heard
) -> None:
    """bash would not start with a libtinfo that is none."""
    folder = conda_prefix(
        tmp_path / "conda", a="export LD_LIBRARY_PATH=$CONDA_PREFIX/lib\n", b="export B=1\n"
    )
    (folder / "lib").mkdir()
    (folder / "lib" / "libtinfo.so.6").write_text("no library")

    after = activate(folder, heard)

    assert after["LD_LIBRARY_PATH"] == f"{folder}/lib"
    assert heard.warnings == []
    assert after["B"] == "1"


def test_start_files_of_shells_are_not_run_and_are_passed_on(tmp_path: Path, heard: Heard) -> None:
    (tmp_path / "start").write_text("export STARTED=1\n")
    folder = conda_prefix(tmp_path / "conda", a="export A=1\n")
    named = {"BASH_ENV": str(tmp_path / "start"), "ENV": str(tmp_path / "start")}

    after = activate(folder, heard, {**OUTSIDE, **named})

    assert "STARTED" not in after
    assert {name: after[name] for name in named} == named
    assert after["A"] == "1"


def test_other_files_beside_the_hooks_are_not_run(tmp_path: Path, heard: Heard) -> None:
    folder = conda_prefix(tmp_path / "conda", a="export A=1\n")
    (folder / "etc" / "conda" / "activate.d" / "b.csh").write_text("setenv B 1\n")
    (folder / "etc" / "conda" / "deactivate.d").mkdir()
    (folder / "etc" / "conda" / "deactivate.d" / "c.sh").write_text("unset A\n")

    assert activate(folder, heard)["A"] == "1"
    assert heard.warnings == []
