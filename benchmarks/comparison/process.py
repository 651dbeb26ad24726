"""Runs one program to its end or to a deadline, and leaves none of its processes and shared memory behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

SHM = Path("/dev/shm")
# NVIDIA's backend keeps tensors under names of this kind, and leaves them when its server is killed.
SHM_PREFIX = "triton_python_backend_shm_region_"
SECONDS_TO_FOLLOW = 10


class Failed(Exception):
    """A program did not do what it was started for; the text says what it said."""


def run(
    command: Sequence[str | Path],
    folder: Path,
    log: Path,
    seconds: float,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Exit status and standard output of a program run in `folder`; its standard error goes to `log`.

    No server may run in the root of this repository: NVIDIA's stub looks there first and would import our
    package, which is for another stub.

    Raises:
        Failed: it had not ended after `seconds`.
    """
    with log.open("ab") as errors, _shm_as_before():
        # A session of its own: Ctrl-C reaches this program first, which then ends the other in order.
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=folder,
            start_new_session=True,
            text=True,
        )
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{Path(command[0]).name} had not ended after {seconds:.0f} s (see {log})") from None
        finally:
            _end(process)
    return process.returncode, output


def checked(command: Sequence[str | Path], log: Path, seconds: float) -> None:
    """Runs a program that has to succeed.

    Raises:
        Failed: it did not; with the last line that it said.
    """
    status, output = run(command, log.parent, log, seconds)
    if status != 0:
        said = (output + log.read_text(errors="replace")).strip().splitlines()
        errors = [line for line in said if "error" in line.lower()] or said or ["it said nothing"]
        raise Failed(f"{Path(command[0]).name} ended with status {status}: {errors[-1].strip()}")


def _end(process: subprocess.Popen[str]) -> None:
    """SIGTERM, for an orderly end; then SIGKILL for whatever is left of its group."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=SECONDS_TO_FOLLOW)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@contextmanager
def _shm_as_before() -> Iterator[None]:
    before = _shm_names()
    try:
        yield
    finally:
        for name in _shm_names() - before:
            if not _is_mapped(name):
                (SHM / name).unlink(missing_ok=True)


def _shm_names() -> set[str]:
    return {path.name for path in SHM.glob(f"{SHM_PREFIX}*")}


def _is_mapped(name: str) -> bool:
    """Whether a process uses it: another server on this machine may have started in the meantime."""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            if name in maps.read_text(errors="replace"):
                return True
        except OSError:
            continue
    return False
