"""The cache of unpacked environments, used by several processes at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from hearing import Heard
from packing import environment, file

import triton_python_backend_utils
from triton_python_backend_utils.launch.cache import EnvironmentCache
from triton_python_backend_utils.launch.locks import open_lock, try_lock
from triton_python_backend_utils.launch.problem import EnvironmentProblem

SOURCES = str(Path(triton_python_backend_utils.__file__).parent.parent)

# Acquires the environment, says what happened, and keeps it until its input ends.
ACQUIRE = """
import json, sys
from pathlib import Path
from triton_python_backend_utils.launch.cache import EnvironmentCache
from triton_python_backend_utils.launch.problem import EnvironmentProblem
from triton_python_backend_utils.launch.progress import Progress
class Telling(Progress):
    signs, phase = 0, None
    def advance(self, phase, done, total):
        super().advance(phase, done, total)
        if phase != self.phase:
            self.phase = phase
            print(phase, flush=True)
    def alive(self):
        self.signs += 1
        if self.signs == 3:
            print("alive", flush=True)
    def step(self, text):
        print("step", text, flush=True)
cache, archive = map(Path, sys.argv[1:3])
try:
    found = EnvironmentCache(cache, max_bytes=int(sys.argv[3])).acquire(archive, Telling())
    print("got", json.dumps([str(found.prefix), [name for name, _ in found.phases]]), flush=True)
except EnvironmentProblem as problem:
    print("failed", problem, flush=True)
sys.stdin.read()
"""


class Process:
    def __init__(self, cache: Path, archive: Path, max_bytes: int = 0) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-B", "-c", ACQUIRE, str(cache), str(archive), str(max_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": SOURCES},
        )
        self.lines: list[str] = []

    def hear(self, *starts: str) -> str:
        """Wait for a line that starts with one of these."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line.strip())
            if line.startswith(starts):
                return line.strip()
        pytest.fail(f"the process has ended: {self.lines}")

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        with self.popen:
            self.popen.kill()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes a second or two to unpack: nothing is slower than noise in bzip2."""
    many = [file(f"lib/{number}/module.py", b"x" * 2000) for number in range(50)]
    large = [file(f"share/{number}", os.urandom(1 << 20)) for number in range(8)]
    return environment(tmp_path_factory.mktemp("archive") / "env", *many, *large, program="bzip2")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def whole(prefix: Path) -> bool:
    return sum(1 for path in prefix.rglob("*") if path.is_file()) == 59


def test_one_of_eight_unpacks_and_the_others_wait_and_share(cache: Path, archive: Path) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(cache, archive)) for _ in range(8)]

        told = [process.hear("got", "failed") for process in processes]

        prefixes = {line.split('"')[1] for line in told}
        assert len(prefixes) == 1
        assert whole(Path(prefixes.pop()))
        unpackers = [line for line in told if '"unpacking"' in line]
        waiters = [process for process, line in zip(processes, told) if '"waiting"' in line]
        assert len(unpackers) == 1
        assert len(waiters) >= 4  # the others came when all was done
        assert all("alive" in process.lines for process in waiters)
        (entry,) = EnvironmentCache(cache).entries()
        assert entry.in_use


def test_who_waits_takes_over_when_the_unpacker_is_killed(cache: Path, archive: Path) -> None:
    with Process(cache, archive) as first:
        first.hear("unpacking")
        with Process(cache, archive) as second:
            second.hear("alive")

            first.popen.kill()

            told = second.hear("got", "failed")
            assert '"unpacking"' in told
            assert whole(Path(told.split('"')[1]))


@pytest.mark.parametrize("number", [0, 3, 7])
def test_a_kill_while_unpacking_leaves_nothing_that_counts(cache: Path, archive: Path, number: int) -> None:
    with Process(cache, archive) as process:
        process.hear("unpacking")
        env = next((cache / "environments").glob("*/env"))
        while not (env / "share" / str(number)).exists():
            time.sleep(0.001)
        process.popen.kill()
        process.popen.wait()
    assert EnvironmentCache(cache).entries() == []
    left = {path.stat().st_ino for path in env.rglob("*")}
    assert left

    with Process(cache, archive) as process:
        told = process.hear("got", "failed")

    assert '"unpacking"' in told
    prefix = Path(told.split('"')[1])
    assert prefix == env
    assert whole(prefix)


def test_an_environment_in_use_is_not_evicted_until_its_process_ends(
    cache: Path, archive: Path, tmp_path: Path
) -> None:
    small = environment(tmp_path / "small.tar.gz")
    with Process(cache, archive) as user:
        user.hear("got")
        with Process(cache, small, max_bytes=1) as other:
            other.hear("got")
        assert len(EnvironmentCache(cache).entries()) == 2
        assert EnvironmentCache(cache).entries()[0].in_use

    removed = EnvironmentCache(cache).prune(everything=True)

    assert {entry.archive for entry in removed} == {archive, small}


def test_all_who_wait_for_a_damaged_archive_are_told(cache: Path, tmp_path: Path) -> None:
    archive = environment(tmp_path / "archive", file("a", os.urandom(1 << 20)))
    archive.write_bytes(archive.read_bytes()[:-4])
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(cache, archive)) for _ in range(3)]

        told = [process.hear("got", "failed") for process in processes]

    assert all(f"{archive} is damaged or incomplete" in line for line in told)
    assert {path.name for path in (cache / "environments").iterdir()} == {"known"}


def test_a_lock_file_that_was_removed_locks_nobody_out(cache: Path, archive: Path) -> None:
    """An evictor removes it while it holds it; who waited for it must not take it for the one."""
    found = EnvironmentCache(cache).acquire(archive, Heard())
    lock_file = found.prefix.parent.with_suffix(".lock")
    (found.prefix.parent / "complete.json").unlink()
    with Process(cache, archive) as waiter:
        waiter.hear("alive")
        lock_file.unlink()
        other = open_lock(lock_file)
        assert try_lock(other, lock_file, exclusive=True)
        os.close(found.lock)
        waiter.hear("step waits")
        assert not any(line.startswith("unpacking") for line in waiter.lines)

        os.close(other)

        assert '"unpacking"' in waiter.hear("got", "failed")


def test_processes_that_use_and_prune_at_random_never_lose_what_they_use(cache: Path, tmp_path: Path) -> None:
    archives = [environment(tmp_path / f"{number}.tar.gz", file(str(number))) for number in range(3)]
    code = """
import os, random, sys
from pathlib import Path
from triton_python_backend_utils.launch.cache import EnvironmentCache
from triton_python_backend_utils.launch.progress import Progress
dice = random.Random(int(sys.argv[1]))
cache = EnvironmentCache(Path(sys.argv[2]), max_bytes=1)
for round in range(40):
    number = dice.randrange(3)
    found = cache.acquire(Path(sys.argv[3 + number]), Progress())
    for look in range(3):
        assert (found.prefix / str(number)).is_file(), round
        cache.prune(everything=True)
    assert (found.prefix / "bin" / "python3").is_file(), round
    os.close(found.lock)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-B", "-c", code, str(seed), str(cache), *map(str, archives)],
            env={**os.environ, "PYTHONPATH": SOURCES},
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(4)
    ]

    ended = [(process.communicate()[1], process.returncode) for process in processes]

    assert ended == [("", 0)] * 4


def test_the_lock_is_given_on_over_exec(cache: Path, tmp_path: Path) -> None:
    archive = environment(tmp_path / "env.tar.gz")
    code = (
        ACQUIRE.replace("sys.stdin.read()", "")
        + "import os\nos.set_inheritable(found.lock, True)\nos.execvp('cat', ['cat'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-B", "-c", code, str(cache), str(archive), "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": SOURCES},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        while not process.stdout.readline().startswith(b"got"):
            pass
        process.stdin.write(b"is cat\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"is cat\n"
        assert EnvironmentCache(cache).prune(everything=True) == []

        process.stdin.close()
        process.wait()

    assert len(EnvironmentCache(cache).prune(everything=True)) == 1


def test_a_file_system_without_locks_is_named(tmp_path: Path) -> None:
    """A descriptor that only names a file cannot be locked, and stands for file systems without locks."""
    fd = os.open(tmp_path, os.O_PATH)
    try:
        with pytest.raises(EnvironmentProblem) as raised:
            try_lock(fd, tmp_path / "x.lock", exclusive=True)
    finally:
        os.close(fd)

    said = f"{tmp_path} cannot be used by several processes, because its file system has no locks"
    assert said in str(raised.value)
