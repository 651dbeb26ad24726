"""`triton-python env pack`: environments that are packed here and run elsewhere."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import complaint, run, usage_error
from environments import (
    borrow_numpy,
    borrowed,
    find_python,
    own_version,
    tell,
    unpacked,
    venv,
    write_script,
)

from triton_python._env.conda import collect_conda
from triton_python._errors import TritonPythonError

PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
BASE = Path(sys.base_prefix)


@dataclass(frozen=True)
class Packed:
    """An environment that was packed and is gone."""

    original: Path
    archive: Path
    prefix: Path
    """Where the archive is unpacked."""
    result: subprocess.CompletedProcess[str]

    @property
    def python(self) -> Path:
        return self.prefix / "bin" / "python3"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """A virtual environment with numpy, a script, a module of its own and a link that leads nowhere."""
    folder = tmp_path_factory.mktemp("packed")
    original, archive = folder / "original", folder / "environment.tar.gz"
    site = venv(original)
    borrow_numpy(site)
    write_script(original / "bin" / "where", original / "bin" / "python")
    (site / "mine.py").write_text("VALUE = 7\n")
    (site / "nowhere").symlink_to("/no/such/place")
    (original / "share").mkdir()
    (original / "share" / "data.txt").write_text("data")

    result = run("env", "pack", str(original), "-o", str(archive), "--fast")

    assert result.returncode == 0, result.stderr
    original.rename(folder / "gone")
    return Packed(original, archive, unpacked(archive, folder / "elsewhere"), result)


def folders_of(packed: Packed) -> list[str]:
    return sorted(entry.name for entry in packed.archive.parent.iterdir())


def test_the_lines_for_the_configuration_are_all_that_goes_to_stdout(packed: Packed) -> None:
    assert packed.result.stdout == (
        f'parameters: {{\n  key: "EXECUTION_ENV_PATH"\n  value: {{ string_value: "{packed.archive}" }}\n}}\n'
    )
    said = packed.result.stderr
    digest = hashlib.sha256(packed.archive.read_bytes()).hexdigest()
    assert f"{packed.archive}: Python {'.'.join(map(str, sys.version_info[:3]))}, numpy " in said
    assert f"sha256 {digest}" in said
    assert re.search(r"^triton-python: packing 100 % of [1-9]\d* MB$", said, re.MULTILINE)
    assert "$$TRITON_MODEL_DIRECTORY/environment.tar.gz" in said
    assert f"triton_python_backend_utils {own_version()} was added" in said
    assert f"left out: {packed.original / 'lib' / PYTHON / 'site-packages' / 'nowhere'}" in said
    assert folders_of(packed) == ["elsewhere", "environment.tar.gz", "gone"]


def test_a_packed_environment_runs_elsewhere_and_takes_nothing_from_where_it_was(packed: Packed) -> None:
    told = tell(packed.python)

    assert told["sum"] == 6
    assert told["prefix"] == str(packed.prefix)
    assert borrowed(told, packed.prefix, packed.original.parent / "gone", BASE, Path(sys.prefix)) == []


def test_packages_scripts_and_data_of_a_packed_environment_are_there(packed: Packed) -> None:
    site = packed.prefix / "lib" / PYTHON / "site-packages"
    ran = subprocess.run(
        [packed.prefix / "bin" / "where"], env={}, capture_output=True, text=True, check=True
    )

    assert ran.stdout == f"{packed.prefix}\n"
    assert (site / "mine.py").read_text() == "VALUE = 7\n"
    assert (packed.prefix / "share" / "data.txt").read_text() == "data"
    assert not (site / "numpy").is_symlink()
    assert not (site / "triton_python").exists()
    assert not (packed.prefix / "pyvenv.cfg").exists()


def test_a_script_of_a_packed_environment_runs_through_a_link(packed: Packed, tmp_path: Path) -> None:
    (tmp_path / "where").symlink_to(packed.prefix / "bin" / "where")

    ran = subprocess.run([tmp_path / "where"], env={}, capture_output=True, text=True, check=True)

    assert ran.stdout == f"{packed.prefix}\n"


def test_a_shell_can_activate_a_packed_environment(packed: Packed) -> None:
    script = f". {packed.prefix}/bin/activate; echo $VIRTUAL_ENV; command -v python3"

    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)

    assert ran.stdout == f"{packed.prefix}\n{packed.python}\n"


def test_an_archive_names_nobody_and_leads_nowhere_else(packed: Packed) -> None:
    with tarfile.open(packed.archive) as archive:
        members = archive.getmembers()

    assert {(one.uid, one.gid, one.uname, one.gname) for one in members} == {(0, 0, "", "")}
    assert [one.name for one in members] == sorted(one.name for one in members)
    assert {one.mode for one in members if one.isfile()} == {0o644, 0o755}
    links = [one for one in members if not one.isfile()]
    assert {one.name for one in links} >= {"bin/python", "bin/python3"}
    assert all(one.issym() and "/" not in one.linkname for one in links)
    assert not [one.name for one in members if "/test/" in one.name.split("site-packages")[0]]
    for script in (packed.prefix / "bin").iterdir():
        assert str(packed.original).encode() not in script.read_bytes()


def test_modules_of_a_packed_environment_are_compiled(packed: Packed) -> None:
    """Also after its files got other times, as those of a zip have."""
    for source in packed.prefix.rglob("numpy/__init__.py"):
        os.utime(source, (1, 1))

    ran = subprocess.run(
        [packed.python, "-B", "-v", "-c", "import json, numpy, mine"],
        env={},
        capture_output=True,
        text=True,
        check=True,
    )

    sources = re.findall(r"# code object from '?(/[^'\n]*\.py)'?$", ran.stderr, re.MULTILINE)
    assert re.search(r"# code object from '?[^'\n]*/numpy/__pycache__/__init__[^'\n]*\.pyc", ran.stderr)
    assert sources == []


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An environment that would be packed if nothing else were wrong."""
    borrow_numpy(venv(tmp_path / "small"))
    return tmp_path / "small"


def refusal(*arguments: str, **environment: str) -> str:
    """What is said, in one line, by a command that has left nothing behind."""
    result = run("env", "pack", *arguments, **environment)
    assert result.stdout == ""
    return complaint(result)


def test_a_place_without_a_python_is_refused(tmp_path: Path) -> None:
    assert f"{tmp_path / 'no'} does not exist: give the folder of" in refusal(str(tmp_path / "no"))
    assert f"{tmp_path} is not a Python environment: it has no bin/python3" in refusal(str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "bin" / "python3").chmod(0o755)
    assert "bin/python3 does not answer as a Python does" in refusal(str(tmp_path))


def test_an_environment_without_numpy_is_refused(tmp_path: Path) -> None:
    venv(tmp_path / "bare")

    sentence = refusal(str(tmp_path / "bare"), "-o", str(tmp_path / "x.tar.gz"))

    assert f"{tmp_path / 'bare'} cannot import numpy" in sentence
    assert f"{tmp_path}/bare/bin/python3 -m pip install 'numpy>=1.19'" in sentence


def test_an_old_python_is_refused(tmp_path: Path) -> None:
    old = find_python("3.8")
    if old is None:
        pytest.skip("no Python 3.8 on PATH or in pyenv")

    assert "is Python 3.8." in refusal(str(old), "-o", str(tmp_path / "x.zip"))


def test_a_name_that_says_nothing_about_the_kind_of_archive_is_refused(small: Path, tmp_path: Path) -> None:
    assert "the name x.rar does not say what kind of archive" in refusal(
        str(small), "-o", f"{tmp_path}/x.rar"
    )


def test_an_archive_that_is_there_stays_as_it_is(small: Path, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("mine")

    sentence = refusal(str(small), "-o", str(tmp_path / "x.zip"))

    assert f"{tmp_path / 'x.zip'} is there already" in sentence
    assert "--force" in sentence
    assert (tmp_path / "x.zip").read_text() == "mine"


def test_a_folder_for_the_archive_that_is_missing_is_told(small: Path, tmp_path: Path) -> None:
    sentence = refusal(str(small), "-o", str(tmp_path / "no" / "x.zip"))

    assert f"the folder {tmp_path / 'no'} for the archive does not exist" in sentence


def test_pth_files_and_editable_installs_that_lead_out_are_refused_by_name(
    small: Path, tmp_path: Path
) -> None:
    site = next((small / "lib").glob("python*/site-packages"))
    project = tmp_path / "project"
    project.mkdir()
    (site / "elsewhere.pth").write_text(f"# a comment\n{project}\n{tmp_path / 'missing'}\n")
    metadata = site / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "direct_url.json").write_text(
        f'{{"url": "file://{project}", "dir_info": {{"editable": true}}}}'
    )
    (metadata / "RECORD").write_text("__editable__.my_package-1.0.pth,,\n")
    (site / "__editable__.my_package-1.0.pth").write_text("import no_such_finder\n")

    sentence = refusal(str(small), "-o", str(tmp_path / "x.tar.gz"))

    assert f"{site / 'elsewhere.pth'} leads to {project}" in sentence
    assert f"my_package is an editable install of {project}" in sentence
    assert "--ignore-editable" in sentence
    assert "missing" not in sentence
    assert not (tmp_path / "x.tar.gz").exists()


def test_nothing_is_left_when_packing_fails(small: Path, tmp_path: Path) -> None:
    """A module that the clean process loads, and that has a path of its own to somewhere else."""
    site = next((small / "lib").glob("python*/site-packages"))
    (tmp_path / "outside").mkdir()
    (site / "path.pth").write_text(f"import sys; sys.path.append({str(tmp_path / 'outside')!r})\n")
    before = set(tmp_path.iterdir())

    sentence = refusal(str(small), "-o", str(tmp_path / "x.tar"), "--no-bytecode")

    assert f"does not work, so it was deleted: it imports from outside itself: {tmp_path}/outside" in sentence
    assert set(tmp_path.iterdir()) == before


def test_a_conda_environment_without_conda_pack_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "conda_pack", None)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    with pytest.raises(TritonPythonError, match=r"is a conda environment, and there is no conda-pack .*pip"):
        collect_conda(tmp_path, tmp_path, ignore_editable=False, ignore_missing=False)


def test_a_wrong_option_is_an_error_of_usage() -> None:
    assert "--pyton" in usage_error(run("env", "pack", "--pyton"))
