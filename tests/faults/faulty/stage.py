"""One server for many cells: models with switches, and what must be left when they are gone."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from serving.client import LOADED, Client
from serving.decoupled import DECOUPLED
from serving.processes import Process
from serving.repository import config, instance_group, parameters, write_model
from serving.server import TritonServer
from serving.waiting import wait_until

from faulty.grid import Cell
from faulty.traffic import LARGE_INPUTS, LARGE_OUTPUTS, SMALL, STREAMING, Traffic

MODELS = Path(__file__).parent.parent / "models"
TENSORS = config(
    {"IN": ("INT32", [-1]), "COUNT": ("INT32", [1])}, {"OUT": ("INT32", [-1])}, optional=["COUNT"]
)
CLIENTS = {"gather": LARGE_INPUTS, "respond": LARGE_OUTPUTS, "stream": STREAMING}
# Where the fault of a phase is looked for, if not under its own name.
POINTS = {"restart": "initialize", "callee": "execute"}
ON_A_THREAD = ("idle", "gather", "respond")
PATIENCE_SECONDS = 15


@dataclass
class Stage:
    """The server of the matrix."""

    server: TritonServer
    switches: Path
    temporary: Path
    http: Client
    bystander: Traffic
    used: tuple[int, int] = (0, 0)

    # --- models ---

    def write(self, name: str, kind: str, more: str = "") -> str:
        write_model(self.server.start.repository, name, (MODELS / f"{kind}.py").read_text(), TENSORS + more)
        (self.switches / name).mkdir(exist_ok=True)
        return name

    def load(self, *names: str) -> None:
        for name in names:
            self.http.load(name)

    def unload(self, *names: str) -> float:
        """How many seconds it took."""
        begun = time.monotonic()
        for name in names:
            self.http.raw.unload_model(name)  # returns at once
        self.await_unloaded(*names)
        return time.monotonic() - begun

    def await_unloaded(self, *names: str) -> None:
        for name in names:
            wait_until(f"the end of '{name}'", lambda name=name: "UNAVAILABLE" in self.http.state(name))

    def stubs(self, model: str) -> list[Process]:
        return [one for one in self.server.stubs() if model in one.command()]

    def answered(self, model: str) -> int:
        """Requests that the server counts as answered or failed."""
        counted = self.http.statistics(model)["inference_stats"]
        return sum(int(counted[what].get("count", 0)) for what in ("success", "fail"))

    def clear(self) -> None:
        """A cell that has failed leaves nothing for the next one to stumble over."""
        for entry in self.http.raw.get_model_repository_index():
            if entry.get("state") in LOADED and entry["name"] != self.bystander.model:
                self.http.unload(entry["name"])
        for switch in self.switches.glob("*/*"):
            switch.unlink()

    # --- faults ---

    def plant(self, model: str, point: str, fault: str) -> None:
        folder = self.switches / model
        (folder / "happened").unlink(missing_ok=True)
        planted = folder / "planted"
        planted.write_text(fault)
        planted.rename(folder / point)

    def victim_of(self, model: str) -> int:
        """The number of the process that took the fault."""
        return int(
            wait_until(
                "the fault", lambda: _text(self.switches / model / "happened"), seconds=PATIENCE_SECONDS
            )
        )

    def afterwards(self, cell: Cell, pid: int) -> None:
        """What is done from outside about a process that stands still or hangs, when others have gone on."""
        if cell.fault == "SIGSTOP":
            wait_until("it to stand still", lambda: _state(pid) == "T")
            self.bystander.advance()
            os.kill(pid, signal.SIGCONT)
        elif cell.is_killed_by_us:
            self.bystander.advance()
            os.kill(pid, signal.SIGKILL)

    # --- the end ---

    def look(self) -> tuple[int, int]:
        """Descriptors, without the clients', and threads that the backend has in the server."""
        process = self.server.process
        ours = [target for target in process.descriptors().values() if not target.startswith("socket")]
        return len(ours), len([name for name in process.threads() if name.startswith("tpb-")])

    def expect_nothing_left(self, models: list[str]) -> None:
        (stays,) = self.stubs(self.bystander.model)
        wait_until("the end of all processes", lambda: self.server.all_stubs() == [stays])
        for model in models:
            region = f"memfd:{self.server.region_prefix}{model}"
            wait_until(
                f"the memory of '{model}' to go",
                lambda region=region: not self.server.process.mentions(region),
            )
        wait_until(f"no more than {self.used} to be in use", lambda: self.look() <= self.used)
        assert not self.server.shm_names()
        assert list(self.temporary.iterdir()) == []


@dataclass
class Cast:
    """The models of a cell: who is asked, who meets the fault, and who else is there."""

    asked: str
    victim: str
    helpers: tuple[str, ...]
    point: str

    @property
    def all(self) -> list[str]:
        return [*self.helpers, *dict.fromkeys((self.victim, self.asked))]

    @staticmethod
    def of(stage: Stage, cell: Cell) -> Cast:
        name = cell.name.replace("-", "_")
        point = "thread" if cell.phase in ON_A_THREAD else POINTS.get(cell.phase, cell.phase)
        if cell.phase == "stream":
            victim = stage.write(name, "streaming", DECOUPLED)
            return Cast(victim, victim, (), point)
        if cell.phase == "call":
            helper = stage.write(f"{name}_slow", "slow", instance_group(4))
            victim = stage.write(name, "calling", parameters(other=helper))
            return Cast(victim, victim, (helper,), point)
        if cell.phase == "callee":
            victim = stage.write(name, "slow")
            return Cast(stage.write(f"{name}_front", "calling", parameters(other=victim)), victim, (), point)
        victim = stage.write(name, "plain")
        return Cast(victim, victim, (), point)

    def traffic(self, stage: Stage, cell: Cell) -> Traffic:
        return Traffic(stage.server, self.asked, CLIENTS.get(cell.phase, SMALL))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _state(pid: int) -> str:
    return _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[0]
