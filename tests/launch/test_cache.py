"""The cache of unpacked environments, used by one process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hearing import Heard
from packing import Item, compressed, environment, file, folder, link, tar

from triton_python_backend_utils.launch import filling, hashing
from triton_python_backend_utils.launch.cache import CachedEnvironment, EnvironmentCache
from triton_python_backend_utils.launch.limits import Limits
from triton_python_backend_utils.launch.problem import EnvironmentProblem
from triton_python_backend_utils.launch.progress import Progress

# Writes its own place into a file, as conda-unpack does, and says who runs it.
CONDA_UNPACK = b"""#!/usr/bin/env python
import os, sys
text = repr([os.getcwd(), sys.executable, os.environ["PATH"].split(":")[0], os.environ["PYTHONNOUSERSITE"]])
open(os.path.join(os.path.dirname(os.path.dirname(__file__)), "place"), "w").write(text)
"""


@pytest.fixture
def cache(tmp_path: Path) -> EnvironmentCache:
    return EnvironmentCache(tmp_path / "cache")


@pytest.fixture(autouse=True)
def settles_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "SETTLED_NS", 100_000_000)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return settled(environment(tmp_path / "env.tar.gz"))


def settled(archive: Path) -> Path:
    """The archive, with its last change so long ago that its digest may be remembered."""
    while time.time_ns() - archive.stat().st_ctime_ns <= hashing.SETTLED_NS:
        time.sleep(0.02)
    return archive


def released(found: CachedEnvironment) -> CachedEnvironment:
    os.close(found.lock)
    return found


def use(cache: EnvironmentCache, archive: Path, progress: Progress | None = None) -> CachedEnvironment:
    """Acquires the environment and gives it back."""
    return released(cache.acquire(archive, progress or Heard()))


def refusal(cache: EnvironmentCache, archive: Path) -> str:
    """Why there is no environment, of which nothing is left."""
    with pytest.raises(EnvironmentProblem) as raised:
        cache.acquire(archive, Heard())
    left = {path.name for path in (cache.directory / "environments").iterdir()}
    assert left == {"known"}
    return str(raised.value)


def phase_names(found: CachedEnvironment) -> list[str]:
    return [name for name, _ in found.phases]


def test_an_archive_is_unpacked_where_it_stays(cache: EnvironmentCache, archive: Path) -> None:
    found = use(cache, archive)

    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    entry = cache.directory / "environments" / digest[:32]
    assert found.digest == digest
    assert found.prefix == entry / "env"
    assert phase_names(found) == ["hashing", "unpacking"]
    assert (found.prefix / "bin" / "python3").is_file()
    assert json.loads((entry / "complete.json").read_text())["digest"] == digest
    assert {path.name for path in entry.iterdir()} == {"env", "complete.json"}


def test_the_second_time_nothing_is_done(cache: EnvironmentCache, archive: Path) -> None:
    first = use(cache, archive)
    marker = first.prefix / "marker"
    marker.touch()

    second = use(cache, archive)

    assert second.prefix == first.prefix
    assert second.phases == []
    assert marker.exists()


def test_a_copy_of_the_archive_has_the_same_environment(cache: EnvironmentCache, archive: Path) -> None:
    first = use(cache, archive)
    copy = Path(shutil.copy(archive, archive.with_name("copy.zip")))

    second = use(cache, copy)

    assert second.prefix == first.prefix
    assert phase_names(second) == ["hashing"]


def test_an_archive_that_changed_has_an_environment_of_its_own(
    cache: EnvironmentCache, archive: Path
) -> None:
    first = use(cache, archive)
    status = archive.stat()
    environment(archive, file("new"))
    os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns))

    second = use(cache, archive)

    assert second.prefix != first.prefix
    assert (second.prefix / "new").is_file()
    assert len(cache.entries()) == 2


def test_a_change_without_a_change_of_size_and_date_is_seen(cache: EnvironmentCache, tmp_path: Path) -> None:
    archive = tmp_path / "env.tar"
    items = [folder("bin"), file("bin/python3", b"#!/bin/sh\n", 0o755)]
    settled(tar(archive, *items, file("which", b"1")))
    status = archive.stat()
    use(cache, archive)
    tar(archive, *items, file("which", b"2"))
    os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (archive.stat().st_size, archive.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)

    assert (use(cache, archive).prefix / "which").read_bytes() == b"2"


def test_the_digest_of_a_file_that_changed_just_now_is_not_remembered(
    cache: EnvironmentCache, tmp_path: Path
) -> None:
    archive = environment(tmp_path / "env.tar.gz")

    use(cache, archive)

    assert list((cache.directory / "environments" / "known").iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"identity": 1, "digest": "../../x"}'])
def test_a_digest_that_is_remembered_wrongly_is_found_out(
    cache: EnvironmentCache, archive: Path, content: str
) -> None:
    use(cache, archive)
    (known,) = (cache.directory / "environments" / "known").iterdir()
    known.write_text(content)

    assert phase_names(use(cache, archive)) == ["hashing"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "half"])
def test_an_entry_that_is_not_complete_is_made_again(
    cache: EnvironmentCache, archive: Path, content: str
) -> None:
    first = use(cache, archive)
    complete = first.prefix.parent / "complete.json"
    text = complete.read_text()
    complete.write_text(text[: len(text) // 2] if content == "half" else content)
    (first.prefix / "left-by-a-crash").touch()

    second = use(cache, archive)

    assert phase_names(second) == ["unpacking"]
    assert not (second.prefix / "left-by-a-crash").exists()


def test_the_only_folder_at_the_top_is_the_environment(cache: EnvironmentCache, tmp_path: Path) -> None:
    archive = environment(tmp_path / "env.tar.gz", file("lib/a"), below="my env/")

    found = use(cache, archive)

    assert found.prefix.name == "my env"
    assert use(cache, archive).prefix == found.prefix


@pytest.mark.parametrize(
    "items",
    [
        [file("README")],
        [folder("a/bin"), file("a/bin/python"), folder("b")],
        [folder("a/b/bin"), file("a/b/bin/python")],
        [link("bin", ".")],
    ],
)
def test_an_archive_without_an_environment_is_refused(
    cache: EnvironmentCache, tmp_path: Path, items: list[Item]
) -> None:
    archive = tar(tmp_path / "env.tar", *items)

    text = refusal(cache, archive)

    assert f"{archive} holds no Python environment: there is no bin/python3" in text
    assert f"(what is there: {items[0].name.split('/')[0]}" in text
    assert "Pack one with `triton-python env pack` or conda-pack" in text


def test_an_archive_whose_python_leads_nowhere_is_refused(cache: EnvironmentCache, tmp_path: Path) -> None:
    archive = tar(tmp_path / "env.tar", link("bin/python3", "python3.11"))

    assert "bin/python3 is a link to python3.11, which does not exist here" in refusal(cache, archive)


@pytest.mark.parametrize("below", ["", "env/"])
def test_conda_unpack_is_run_by_the_environments_own_python(
    cache: EnvironmentCache, tmp_path: Path, below: str
) -> None:
    unpack = file("bin/conda-unpack", CONDA_UNPACK, 0o755)
    archive = environment(tmp_path / "env.tar.gz", unpack, below=below)

    found = use(cache, archive)

    place, python, path, no_user_site = eval((found.prefix / "place").read_text())
    assert phase_names(found) == ["hashing", "unpacking", "conda-unpack"]
    assert place == str(found.prefix)
    assert os.path.realpath(python) == os.path.realpath(sys.executable)
    assert path == str(found.prefix / "bin")
    assert no_user_site == "1"
    assert phase_names(use(cache, archive))[1:] == []


def test_a_conda_unpack_that_fails_is_told_with_its_words(cache: EnvironmentCache, tmp_path: Path) -> None:
    script = b"import sys\nprint('one')\nprint('two', file=sys.stderr)\nsys.exit(7)\n"
    archive = environment(tmp_path / "env.tar.gz", file("bin/conda-unpack", script))

    text = refusal(cache, archive)

    assert f"{archive} cannot be adapted to its place: its bin/conda-unpack failed (exit status 7): " in text
    assert "one\ntwo\nPack it again, with a newer conda-pack" in text


def test_a_conda_unpack_that_hangs_is_ended(
    cache: EnvironmentCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "LIMIT_S", 1.0)
    archive = environment(
        tmp_path / "env.tar.gz", file("bin/conda-unpack", b"import time\ntime.sleep(600)\n")
    )

    assert "its bin/conda-unpack still ran after 1 s" in refusal(cache, archive)


def test_a_conda_unpack_for_a_python_that_does_not_start(cache: EnvironmentCache, tmp_path: Path) -> None:
    items = [file("bin/python3", b"\x7fELF", 0o755), file("bin/conda-unpack", b"")]
    archive = tar(tmp_path / "env.tar", *items)

    assert "bin/python3 is no program that this machine can run" in refusal(cache, archive)


def test_a_damaged_archive_leaves_nothing(cache: EnvironmentCache, archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-100])

    assert f"{archive} is damaged or incomplete" in refusal(cache, archive)


def test_limits_hold(tmp_path: Path, archive: Path) -> None:
    cache = EnvironmentCache(tmp_path / "cache", limits=Limits(entries=1))

    assert "holds more than 1 files and folders" in refusal(cache, archive)


def test_an_archive_that_is_not_there_or_not_readable_is_named(
    cache: EnvironmentCache, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.tar.gz"

    assert f"{missing} cannot be unpacked into {cache.directory}: No such file" in refusal(cache, missing)
    assert f"{tmp_path} cannot be unpacked into" in refusal(cache, tmp_path)


class WhenUnpacking(Progress):
    """Does something in the middle of the work."""

    def __init__(self, phase: str, action: object, times: int = 1) -> None:
        self.phase, self.action, self.left = phase, action, times

    def advance(self, phase: str, done: int, total: int) -> None:
        if phase == self.phase and self.left:
            self.left -= 1
            self.action()  # type: ignore[operator]


@pytest.mark.parametrize("phase", ["hashing", "unpacking"])
def test_an_archive_that_is_replaced_meanwhile_is_read_again(
    cache: EnvironmentCache, archive: Path, phase: str
) -> None:
    other = environment(archive.with_name("other.tar.gz"), file("new"))
    expected = hashlib.sha256(other.read_bytes()).hexdigest()
    old = hashlib.sha256(archive.read_bytes()).hexdigest()

    found = use(cache, archive, WhenUnpacking(phase, lambda: other.replace(archive)))

    # Replaced while it was unpacked, what was open is whole: either is right.
    assert found.digest in ([expected] if phase == "hashing" else [expected, old])
    assert (found.prefix / "new").exists() == (found.digest == expected)
    assert [entry.digest for entry in cache.entries()] == [found.digest[:32]]


@pytest.mark.parametrize("phase", ["hashing", "unpacking"])
def test_an_archive_that_is_written_meanwhile_is_refused(
    cache: EnvironmentCache, tmp_path: Path, phase: str
) -> None:
    archive = tar(tmp_path / "env.tar", file("bin/python3"), file("which", b"0"))
    at = archive.read_bytes().index(b"which") + 512
    written = 0

    def write() -> None:
        nonlocal written
        written += 1
        with archive.open("r+b") as output:
            output.seek(at)
            output.write(str(written % 10).encode())

    with pytest.raises(EnvironmentProblem, match="changes while it is read"):
        cache.acquire(archive, WhenUnpacking(phase, write, times=1000))

    assert written >= 3
    assert cache.entries() == []


def test_signs_of_life_are_given_while_it_works(cache: EnvironmentCache, tmp_path: Path) -> None:
    script = b"import time\ntime.sleep(1)\n"
    content = [file(str(number), os.urandom(1 << 20)) for number in range(8)]
    archive = environment(tmp_path / "env.tar.gz", *content, file("bin/conda-unpack", script))
    heard = Heard()

    released(cache.acquire(archive, heard))

    size = archive.stat().st_size
    assert len(heard.phases["hashing"]) >= 8
    assert heard.phases["hashing"][-1] == (size, size)
    assert len(heard.phases["unpacking"]) >= 8
    assert heard.signs >= len(heard.phases["hashing"]) + len(heard.phases["unpacking"]) + 3
    (step,) = heard.steps
    assert step.startswith(f"unpacks {archive} (8.4 MB) into {cache.directory}/environments/")


def test_entries_tell_what_is_there(cache: EnvironmentCache, tmp_path: Path) -> None:
    one = environment(tmp_path / "one.tar.gz", file("a", b"x" * 100_000))
    two = environment(tmp_path / "two.tar.gz", file("b"), link("c", "b"))
    before = time.time()
    first = use(cache, one)
    held = cache.acquire(two, Heard())

    entries = cache.entries()
    os.close(held.lock)

    assert [entry.archive for entry in entries] == [one, two]
    assert [entry.digest for entry in entries] == [first.digest[:32], held.digest[:32]]
    assert [entry.in_use for entry in entries] == [False, True]
    assert [entry.files for entry in entries] == [2, 3]
    assert 100_000 <= entries[0].bytes < 120_000
    assert all(before - 1 <= entry.created <= entry.last_used + 1 for entry in entries)
    assert [entry.in_use for entry in cache.entries()] == [False, False]


def three(cache: EnvironmentCache, tmp_path: Path) -> list[CachedEnvironment]:
    """Three environments of about 100 kB, used one after the other."""
    found = []
    for number in range(3):
        archive = environment(tmp_path / f"{number}.tar.gz", file("a", bytes([number]) * 100_000))
        found.append(use(cache, archive))
        os.utime(found[-1].prefix.parent.with_suffix(".lock"), (1000 + number, 1000 + number))
    return found


def test_the_least_recently_used_go_first(cache: EnvironmentCache, tmp_path: Path) -> None:
    oldest, middle, newest = three(cache, tmp_path)
    use(cache, tmp_path / "0.tar.gz")

    removed = cache.prune(max_bytes=250_000)

    assert [entry.digest for entry in removed] == [middle.digest[:32]]
    assert not middle.prefix.parent.exists()
    assert not middle.prefix.parent.with_suffix(".lock").exists()
    assert oldest.prefix.exists()
    assert newest.prefix.exists()


def test_what_is_in_use_stays(cache: EnvironmentCache, tmp_path: Path) -> None:
    three(cache, tmp_path)
    held = cache.acquire(tmp_path / "0.tar.gz", Heard())

    assert len(cache.prune(everything=True)) == 2
    assert (held.prefix / "a").exists()
    os.close(held.lock)

    assert [entry.digest for entry in cache.prune(everything=True)] == [held.digest[:32]]
    assert {path.name for path in (cache.directory / "environments").iterdir()} == {"known"}


def test_the_bound_is_kept_when_something_new_comes(tmp_path: Path) -> None:
    cache = EnvironmentCache(tmp_path / "cache", max_bytes=250_000)

    oldest, *newer = three(cache, tmp_path)

    assert not oldest.prefix.exists()
    assert [entry.digest for entry in cache.entries()] == [one.digest[:32] for one in newer]


def test_what_was_just_unpacked_stays_even_if_it_is_too_large(tmp_path: Path) -> None:
    cache = EnvironmentCache(tmp_path / "cache", max_bytes=1)

    *_, newest = three(cache, tmp_path)

    assert [entry.digest for entry in cache.entries()] == [newest.digest[:32]]


@pytest.mark.parametrize("bound", [None, 0])
def test_a_bound_of_none_or_64_gib_removes_nothing_here(tmp_path: Path, bound: int | None) -> None:
    cache = EnvironmentCache(tmp_path / "cache", max_bytes=bound)

    three(cache, tmp_path)

    assert cache.max_bytes == (64 << 30 if bound is None else 0)
    assert cache.prune() == []
    assert len(cache.entries()) == 3


def test_prune_removes_what_crashes_left(cache: EnvironmentCache, archive: Path) -> None:
    kept = use(cache, archive)
    environments = cache.directory / "environments"
    (environments / ("a" * 32) / "env" / "bin").mkdir(parents=True)
    (environments / ("a" * 32) / "env" / "bin" / "out").symlink_to(archive.parent)
    (environments / ("b" * 32 + ".lock")).touch()
    (environments / "known" / "x.json.1.draft").touch()
    (environments / "somebody's").mkdir()

    assert cache.prune() == []

    left = {path.name for path in environments.iterdir()}
    assert left == {kept.digest[:32], f"{kept.digest[:32]}.lock", "known", "somebody's"}
    assert len(list((environments / "known").iterdir())) == 1
    assert archive.exists()


def test_prune_forgets_archives_that_are_gone(cache: EnvironmentCache, archive: Path) -> None:
    use(cache, archive)
    archive.unlink()

    cache.prune()

    assert list((cache.directory / "environments" / "known").iterdir()) == []


def test_folders_without_permissions_are_removed(cache: EnvironmentCache, archive: Path) -> None:
    found = use(cache, archive)
    (found.prefix / "closed" / "below").mkdir(parents=True)
    (found.prefix / "closed").chmod(0)

    assert len(cache.prune(everything=True)) == 1


def test_a_lock_is_not_kept_by_what_is_started_without_it(cache: EnvironmentCache, archive: Path) -> None:
    found = cache.acquire(archive, Heard())
    with subprocess.Popen(["sleep", "600"], close_fds=False) as process:
        try:
            os.close(found.lock)
            assert [entry.in_use for entry in cache.entries()] == [False]
        finally:
            process.kill()


def test_an_archive_of_zstd_is_kept_as_any_other(cache: EnvironmentCache, archive: Path) -> None:
    plain = tar(archive.with_name("plain.tar"), file("bin/python3"))

    assert use(cache, compressed(plain, "zstd")).prefix.is_dir()
