"""What /proc says about processes: who is whose child, what they map and hold open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Ours, and that of NVIDIA's backend.
STUBS = ("stub_main.py", "launch/launcher.py", "triton_python_backend_stub")


@dataclass(frozen=True)
class Process:
    """One process, told from a later one of the same number by the time of its start."""

    pid: int
    started: int

    @staticmethod
    def of(pid: int) -> Process | None:
        """The running process with this number; None when there is none, or only its ashes."""
        fields = _stat(pid)
        return None if fields is None or fields[0] in "ZX" else Process(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        return Process.of(self.pid) == self

    def command(self) -> list[str]:
        return _read(self.pid, "cmdline").decode("utf-8", "replace").split("\0")[:-1]

    def environment(self) -> dict[str, str]:
        entries = _read(self.pid, "environ").decode("utf-8", "replace").split("\0")[:-1]
        return dict(entry.partition("=")[::2] for entry in entries)

    def maps(self) -> str:
        return _read(self.pid, "maps").decode("utf-8", "replace")

    def descriptors(self) -> dict[int, str]:
        """Number -> what it leads to, such as `socket:[123]`, `/memfd:name (deleted)` or a path."""
        found = {}
        for number in _numbers(f"/proc/{self.pid}/fd"):
            try:
                found[number] = str(Path(f"/proc/{self.pid}/fd/{number}").readlink())
            except OSError:
                continue  # closed in the meantime
        return found

    def threads(self) -> list[str]:
        names = []
        for task in _numbers(f"/proc/{self.pid}/task"):
            name = _read(self.pid, f"task/{task}/comm").decode().strip()
            names.append(name)
        return names

    def states(self) -> set[str]:
        """What its threads do: `S` sleep, `R` run or could."""
        stats = (_read(self.pid, f"task/{task}/stat") for task in _numbers(f"/proc/{self.pid}/task"))
        return {stat.rpartition(b")")[2].split()[0].decode() for stat in stats if stat}

    def tidies_up(self) -> bool:
        """Whether it removes the semaphores of `multiprocessing` when all others have ended."""
        return any("multiprocessing.resource_tracker" in part for part in self.command())

    def mentions(self, token: str) -> list[str]:
        """The mappings and descriptors whose name holds `token`."""
        mapped = [line for line in self.maps().splitlines() if token in line]
        return mapped + [target for target in self.descriptors().values() if token in target]


def processes() -> Iterator[Process]:
    for pid in _numbers("/proc"):
        process = Process.of(pid)
        if process is not None:
            yield process


def children(parent: Process, zombies: bool = False) -> list[Process]:
    """Its running children, or with those that have ended and that it has not collected."""
    found = []
    for pid in _numbers("/proc"):
        fields = _stat(pid)
        if fields is not None and int(fields[1]) == parent.pid and (zombies or fields[0] not in "ZX"):
            found.append(Process(pid, int(fields[19])))
    return found


def stubs(token: str) -> list[Process]:
    """The running stub processes, and what they have forked, of the server that `token` names."""
    return [process for process in processes() if _is_stub(process, token)]


def started_by(token: str) -> list[Process]:
    """All that the server which `token` names has started, at whatever remove; it may be gone itself."""
    return [process for process in processes() if process.environment().get(TOKEN) == token]


def main_stubs(token: str) -> list[Process]:
    """One process per stub: the leaders of the groups; with NVIDIA's backend, the children of the server."""
    return [process for process in stubs(token) if _leads_its_group(process.pid) or _is_theirs(process)]


def holders(token: str) -> list[tuple[Process, list[str]]]:
    """The processes that map or hold open something whose name holds `token`."""
    found = ((process, process.mentions(token)) for process in processes())
    return [(process, mentions) for process, mentions in found if mentions]


def _is_stub(process: Process, token: str) -> bool:
    command = process.command()
    # Those of other servers on this machine are none of our business.
    return any(part.endswith(STUBS) for part in command) and process.environment().get(TOKEN) == token


# The environment variable by which the processes of one test server are known: stubs inherit it.
TOKEN = "TPB_TEST_TOKEN"


def _is_theirs(process: Process) -> bool:
    """Whether it is a stub of NVIDIA's, which leads no group, and nothing that one has forked."""
    fields = _stat(process.pid)
    parent = Process.of(int(fields[1])) if fields is not None else None
    return all(
        one is not None and any(part.endswith(STUBS[-1]) for part in one.command()) is expected
        for one, expected in ((process, True), (parent, False))
    )


def _leads_its_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


def _numbers(folder: str) -> list[int]:
    try:
        return [int(entry.name) for entry in Path(folder).iterdir() if entry.name.isdigit()]
    except OSError:
        return []


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the program's name: state, parent, group, ..."""
    text = _read(pid, "stat").decode("utf-8", "replace")
    return text.rpartition(")")[2].split() if text else None
