"""`triton-python env list` and `prune`: the environments that were unpacked on this machine."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import COMMAND, run, usage_error

from triton_python_backend_utils.launch.cache import CachedEnvironment, EnvironmentCache
from triton_python_backend_utils.launch.progress import Progress


@pytest.fixture
def cache(tmp_path: Path) -> EnvironmentCache:
    return EnvironmentCache(tmp_path / "cache")


def archive(folder: Path, name: str, size: int) -> Path:
    """One that looks like an environment to the cache, of about that many bytes."""
    source = folder / f"of-{name}"
    (source / "bin").mkdir(parents=True)
    shutil.copy("/bin/true", source / "bin" / "python3")
    (source / "content").write_bytes(os.urandom(size))
    path = folder / f"{name}.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(source, ".")
    return path


@pytest.fixture
def two(cache: EnvironmentCache, tmp_path: Path) -> tuple[CachedEnvironment, CachedEnvironment]:
    """Two of 3 and 2 MB that nobody uses; the first is the one that was not used for longer."""
    found = []
    for name, size in (("first", 2_950_000), ("second", 1_950_000)):
        entry = cache.acquire(archive(tmp_path, name, size), Progress())
        os.close(entry.lock)
        found.append(entry)
    return found[0], found[1]


@pytest.fixture
def first_in_use(
    cache: EnvironmentCache, two: tuple[CachedEnvironment, CachedEnvironment], tmp_path: Path
) -> Iterator[CachedEnvironment]:
    entry = cache.acquire(tmp_path / "first.tar", Progress())
    yield entry
    os.close(entry.lock)


def digests(cache: EnvironmentCache) -> list[str]:
    return [entry.digest for entry in cache.entries()]


def test_list_has_a_line_for_each_with_tabs_between(
    cache: EnvironmentCache, two: tuple[CachedEnvironment, CachedEnvironment], tmp_path: Path
) -> None:
    result = run("env", "list", "--cache", str(cache.directory))

    assert result.returncode == 0, result.stderr
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert {row[0] for row in rows} == {one.digest[:32] for one in two}
    by_archive = {row[-1]: row for row in rows}
    assert by_archive[str(tmp_path / "first.tar")][1:3] == ["3.0 MB", "2"]
    assert {row[4] for row in rows} == {"-"}
    assert f"2 in {cache.directory}, 5.0 MB" in result.stderr


def test_list_tells_which_are_in_use(cache: EnvironmentCache, first_in_use: CachedEnvironment) -> None:
    result = run("env", "list", "--cache", str(cache.directory))

    states = {row.split("\t")[0]: row.split("\t")[4] for row in result.stdout.splitlines()}
    assert states.pop(first_in_use.digest[:32]) == "in use"
    assert set(states.values()) == {"-"}


def test_list_is_a_table_on_a_terminal(
    cache: EnvironmentCache, two: tuple[CachedEnvironment, CachedEnvironment]
) -> None:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "COLUMNS": "200", "TERM": "xterm"}
    command = [COMMAND, "env", "list", "--cache", str(cache.directory)]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environ) as process:
        process.wait()
        os.close(theirs)
        shown = os.read(ours, 1 << 16).decode()
    os.close(ours)

    assert "last used" in shown.splitlines()[0]
    assert all(one.digest[:32] in shown for one in two)
    assert "\t" not in shown


def test_the_cache_is_the_default_one_unless_it_is_named(tmp_path: Path) -> None:
    where = {"XDG_CACHE_HOME": str(tmp_path)}
    entry = EnvironmentCache(tmp_path / "triton-python").acquire(archive(tmp_path, "a", 10), Progress())
    os.close(entry.lock)

    assert run("env", "list", **where).stdout.startswith(entry.digest[:32])


def test_where_nothing_is_unpacked_nothing_is_made(tmp_path: Path) -> None:
    for command in (["list"], ["prune", "--all", "--yes"]):
        result = run("env", *command, "--cache", str(tmp_path / "no"))

        assert result.returncode == 0
        assert result.stdout == ""
        assert f"no environment is unpacked in {tmp_path / 'no'}" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_prune_removes_the_least_recently_used_until_the_rest_is_small_enough(
    cache: EnvironmentCache, two: tuple[CachedEnvironment, CachedEnvironment]
) -> None:
    first, second = (entry for entry in cache.entries())

    result = run("env", "prune", "--max-size", "3M", "--yes", "--cache", str(cache.directory))

    assert result.returncode == 0, result.stderr
    assert f"removed {first.digest}, 3.0 MB, of {first.archive}" in result.stderr
    assert f"3.0 MB are free again; 2.0 MB stay in {cache.directory}" in result.stderr
    assert digests(cache) == [second.digest]


def test_prune_leaves_what_is_in_use_and_says_so(
    cache: EnvironmentCache, first_in_use: CachedEnvironment
) -> None:
    result = run("env", "prune", "--all", "--yes", "--cache", str(cache.directory))

    assert result.returncode == 0, result.stderr
    assert f"left {first_in_use.digest[:32]}, 3.0 MB, of " in result.stderr
    assert "it is in use" in result.stderr
    assert digests(cache) == [first_in_use.digest[:32]]
    assert (first_in_use.prefix / "content").exists()


def test_prune_asks_and_takes_no_for_an_answer(
    cache: EnvironmentCache, two: tuple[CachedEnvironment, CachedEnvironment]
) -> None:
    result = run("env", "prune", "--all", "--cache", str(cache.directory), stdin="n\n")

    assert result.returncode == 1
    assert f"Delete all environments in {cache.directory} that no model uses?" in result.stderr
    assert len(digests(cache)) == 2


def test_prune_wants_to_be_told_how_much(cache: EnvironmentCache) -> None:
    assert "either --max-size SIZE or --all" in usage_error(run("env", "prune", "--yes"))
    assert "either --max-size SIZE or --all" in usage_error(run("env", "prune", "--all", "--max-size", "1G"))
    for size in ("lots", "0", "-1", "1X"):
        assert "is no size" in usage_error(run("env", "prune", f"--max-size={size}"))


def test_a_folder_that_others_can_write_is_refused(
    cache: EnvironmentCache, two: tuple[CachedEnvironment, CachedEnvironment]
) -> None:
    cache.directory.chmod(0o777)

    result = run("env", "list", "--cache", str(cache.directory))

    assert result.returncode == 1
    assert "can be written by other users" in result.stderr
