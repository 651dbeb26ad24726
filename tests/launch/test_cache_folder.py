"""Where unpacked environments are kept, and where they are not."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from restricted import in_namespace, may_mount, without_powers

import triton_python_backend_utils
from triton_python_backend_utils.launch import cache_folder
from triton_python_backend_utils.launch.cache import EnvironmentCache, default_directory
from triton_python_backend_utils.launch.cache_folder import candidates, make_usable
from triton_python_backend_utils.launch.problem import EnvironmentProblem

SOURCES = str(Path(triton_python_backend_utils.__file__).parent.parent)
OTHERS = [Path(f"{folder}/triton-python-{os.geteuid()}") for folder in ("/var/tmp", "/tmp")]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return home


@pytest.fixture
def next_choice(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of the folder in /var/tmp, which tests leave alone."""
    choices = [candidates()[0], tmp_path / "next"]
    monkeypatch.setattr(cache_folder, "candidates", lambda: choices)
    return choices[1]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_users_cache_is_the_first_choice(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert candidates() == [home / ".cache" / "triton-python", *OTHERS]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))

    assert candidates() == [tmp_path / "xdg" / "triton-python", home / ".cache" / "triton-python", *OTHERS]
    assert default_directory() == tmp_path / "xdg" / "triton-python"
    assert mode(tmp_path / "xdg" / "triton-python") == 0o700


def test_a_relative_cache_home_is_ignored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")

    assert candidates()[0] == home / ".cache" / "triton-python"


def test_a_home_that_does_not_exist_is_not_made(home: Path) -> None:
    home.rmdir()

    assert candidates() == OTHERS


@pytest.mark.parametrize("bits", [0o020, 0o002])
def test_a_folder_that_others_can_write_is_passed_over(home: Path, next_choice: Path, bits: int) -> None:
    folder = home / ".cache" / "triton-python"
    folder.mkdir(parents=True)
    folder.chmod(0o700 | bits)

    assert default_directory() == next_choice
    refusal = make_usable(folder)
    assert refusal == f"can be written by other users (mode {0o700 | bits:04o}; run chmod go-w)"


def test_a_folder_that_others_can_read_will_do(home: Path) -> None:
    folder = home / ".cache" / "triton-python"
    folder.mkdir(parents=True)
    folder.chmod(0o755)

    assert default_directory() == folder


def test_a_file_in_the_way_is_told(home: Path) -> None:
    (home / ".cache").touch()

    assert make_usable(home / ".cache" / "triton-python") == "cannot be written (File exists)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_folder_of_another_user_is_passed_over(home: Path, next_choice: Path) -> None:
    folder = home / ".cache" / "triton-python"
    folder.mkdir(parents=True)
    os.chown(folder, 12345, 12345)

    assert default_directory() == next_choice
    assert make_usable(folder) == "belongs to another user (uid 12345; this is uid 0)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_link_of_another_user_is_not_followed(home: Path, next_choice: Path, tmp_path: Path) -> None:
    folder = home / ".cache" / "triton-python"
    folder.parent.mkdir()
    (tmp_path / "ours").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "ours")
    assert default_directory() == folder

    os.lchown(folder, 12345, 12345)

    assert default_directory() == next_choice


def test_a_given_folder_that_will_not_do_is_not_replaced_by_another(tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(EnvironmentProblem) as raised:
        EnvironmentCache(folder)

    assert str(raised.value) == (
        f"environments cannot be unpacked into {folder}: {folder} can be written by other users (mode 0777; "
        "run chmod go-w). Choose another folder with "
        "--backend-config=python,environment-cache-directory=PATH"
    )


def test_a_folder_below_that_somebody_else_made_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments").chmod(0o777)

    with pytest.raises(EnvironmentProblem, match=f"{tmp_path}/environments can be written by other users"):
        EnvironmentCache(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o500)
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from triton_python_backend_utils.launch.cache import EnvironmentCache\n"
        "EnvironmentCache(Path(sys.argv[1]))\n"
    )
    command = without_powers([sys.executable, "-B", "-c", code, str(folder), SOURCES])

    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert f"environments cannot be unpacked into {folder}: {folder} cannot be written" in result.stderr


def test_a_file_system_where_nothing_can_be_run_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "noexec"
    folder.mkdir()
    if not may_mount("tmpfs", "noexec", str(folder)):
        pytest.skip("this user may not mount file systems here")
    code = tmp_path / "code.py"
    code.write_text(
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from triton_python_backend_utils.launch.cache_folder import make_usable\n"
        "print(make_usable(Path(sys.argv[1], 'cache')))\n"
    )

    result = in_namespace(
        f"mount -t tmpfs -o noexec none {folder}\n{sys.executable} -B {code} {folder} {SOURCES}"
    )

    assert result.stdout == "is on a file system that is mounted noexec\n"


def test_when_no_folder_will_do_all_that_were_tried_are_named(tmp_path: Path) -> None:
    """Where nothing can be written at all; the user's own folder belongs to somebody else."""
    if not may_mount("tmpfs", "ro", str(tmp_path)):
        pytest.skip("this user may not mount file systems here")
    code = tmp_path / "code.py"
    code.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from triton_python_backend_utils.launch.cache_folder import default_directory\n"
        "default_directory()\n"
    )
    home = tmp_path / "home"
    home.mkdir()

    result = in_namespace(
        f"exec 3< {code}\n"
        f"for folder in /var/tmp {home}; do mount -t tmpfs -o ro none $folder; done\n"
        f"export HOME={home} PYTHONPATH={SOURCES}; unset XDG_CACHE_HOME\n"
        f"ours=/tmp/triton-python-$(stat -c %u {home})\n"
        "mkdir -m 700 $ours && made=1 || made=\n"
        "mount -t tmpfs -o ro,mode=777 none $ours\n"
        f"{sys.executable} -B - {SOURCES} <&3 || true\n"
        "umount $ours; test -z $made || rmdir $ours\n"
    )

    said = result.stderr.splitlines()[-1]
    assert "there is no folder to unpack environments into: " in said
    assert f"{home}/.cache/triton-python cannot be written (Read-only file system); " in said
    assert f"{OTHERS[0]} cannot be written (Read-only file system); " in said
    assert f"{OTHERS[1]} can be written by other users (mode 0777; run chmod go-w). Name one with " in said
    assert said.endswith("--backend-config=python,environment-cache-directory=PATH")
