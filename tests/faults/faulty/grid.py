"""The fault matrix: what is expected when a model's process meets a fault in a phase of its life."""

from __future__ import annotations

from dataclasses import dataclass

PHASES = {
    "spawn": "the interpreter has not yet started",
    "handshake": "Python runs, and has not yet said hello",
    "attach": "it has said hello, and not yet read the server's",
    "auto-complete": "in auto_complete_config",
    "initialize": "in initialize, while the model is loaded",
    "restart": "in initialize of the process that follows a dead one",
    "idle": "on a thread of the model, whatever else goes on; the signals come from outside",
    "gather": "as before, while the server copies large inputs",
    "execute": "in execute",
    "respond": "as idle, while the server copies large outputs",
    "stream": "between two responses of a response sender",
    "call": "in execute, while another model works for it",
    "callee": "in execute, while another model waits for it",
    "finalize": "in finalize",
}
FAULTS = {
    "SIGKILL": "it is killed",
    "SIGSEGV": "it crashes",
    "SIGSTOP": "it stands still, and goes on later",
    "exit": "it ends without a word",
    "exception": "it raises",
    "hang": "it does nothing any more, until somebody kills it or a deadline passes",
    "garbage": "it writes rubbish into the rings, or into its socket while there are none",
    "ENOMEM": "it gets no more memory for a second; in `spawn` and `handshake`, never again",
    "EMFILE": "it may open no more files for a second; in `spawn` and `handshake`, never again",
}

OUTCOMES = {
    "unloaded": "the load fails with how the process ended; the next one works",
    "refused": "the load fails with the reason that the process gave; the next one works",
    "unseen": "every request is answered rightly, some later, by the same process",
    "held": "every request is answered rightly, some by another process",
    "lost": "what the process was executing fails with how it ended; another one follows",
    "maybe": "as lost or held: it may have been between two requests",
    "told": "what it was executing fails with its reason; the same process goes on",
    "partly": "as told or unseen",
    "ends": "the unload ends in time, and the next load works",
}
GRID = """
phase         SIGKILL  SIGSEGV  SIGSTOP exit     exception hang     garbage  ENOMEM   EMFILE
spawn         unloaded unloaded unseen  unloaded -code     unloaded unloaded unloaded unloaded
handshake     unloaded unloaded unseen  unloaded unloaded  unloaded unloaded refused  refused
attach        unloaded unloaded -half   unloaded unloaded  unloaded unloaded -half    -half
auto-complete unloaded unloaded unseen  unloaded refused   unloaded unloaded refused  refused
initialize    unloaded unloaded unseen  unloaded refused   unloaded unloaded refused  refused
restart       held     held     unseen  held     held      held     held     held     held
idle          maybe    maybe    unseen  maybe    unseen    maybe    maybe    partly   unseen
gather        maybe    maybe    unseen  maybe    -thread   maybe    maybe    partly   unseen
execute       lost     lost     unseen  lost     told      lost     lost     told     told
respond       maybe    maybe    unseen  maybe    -thread   maybe    maybe    partly   unseen
stream        lost     lost     unseen  lost     told      lost     lost     told     told
call          lost     lost     unseen  lost     told      lost     lost     told     told
callee        lost     lost     unseen  lost     told      lost     lost     told     told
finalize      ends     ends     ends    ends     ends      ends     ends     ends     ends
"""
LEFT_OUT = {
    "-code": "there is no code yet that could raise",
    "-half": "its hello is said by hand, and after that nothing can go on as if it had not been",
    "-thread": "an exception on a thread of the model ends that thread, whatever the server does: see idle",
}

ENDS = {
    "SIGKILL": r"was killed by signal 9 \(Killed\)",
    "SIGSEGV": r"was killed by signal 11 \(Segmentation fault\)",
    "exit": "exited with status 7",
    "hang": r"was killed by signal 9 \(Killed\)",
}
SOME_END = r"(was killed by signal \d+ \(.+\)|exited with status \d+|was ended: .+)"
REASONS = {
    "exception": "planned exception",
    "ENOMEM": r"MemoryError|Unable to allocate|bad_alloc|[Cc]annot allocate memory|failed to map",
    "EMFILE": "Too many open files",
}
LOAD_PHASES = ("spawn", "handshake", "attach", "auto-complete", "initialize")
# What ends a process that hangs there: a limit, or nothing but somebody's kill.
LIMITED = {
    "spawn": "It sent no message within",
    "handshake": "It sent no message within",
}


@dataclass(frozen=True)
class Cell:
    """A phase, a fault, and what is to come of the two."""

    phase: str
    fault: str
    outcome: str

    @property
    def name(self) -> str:
        return f"{self.phase}-{self.fault}"

    @property
    def while_loading(self) -> bool:
        return self.phase in LOAD_PHASES

    @property
    def is_killed_by_us(self) -> bool:
        return self.fault == "hang" and self.phase not in (*LIMITED, "finalize")

    @property
    def is_replaced(self) -> bool:
        return self.outcome in ("held", "lost", "maybe")

    def load_error(self) -> str:
        """A pattern."""
        if self.outcome == "refused":
            return REASONS[self.fault]
        if self.fault == "hang" and self.phase in LIMITED:
            return rf"Stub process '.*' is not healthy\. {LIMITED[self.phase]}"
        # Of the process that completes the configuration only the log tells how it ended.
        how = "" if self.phase in ("attach", "auto-complete") else rf" It {ENDS.get(self.fault, SOME_END)}"
        garbled = "|first message|impossible place" if self.fault == "garbage" else ""
        return rf"Stub process '.*' is not healthy\.{how}{garbled}"

    def request_error(self, instance: str) -> str | None:
        """A pattern; None where no request may fail."""
        if self.outcome in ("told", "partly"):
            return REASONS[self.fault]
        if self.outcome in ("lost", "maybe"):
            how = rf" It {ENDS.get(self.fault, SOME_END)}\."
            return rf"^Stub process '{instance}' is not healthy\.{how}$"
        return None


def _cells() -> list[Cell]:
    header, *rows = (line.split() for line in GRID.strip().splitlines())
    assert header == ["phase", *FAULTS]
    assert [row[0] for row in rows] == [*PHASES]
    return [Cell(row[0], fault, outcome) for row in rows for fault, outcome in zip(FAULTS, row[1:])]


CELLS = [cell for cell in _cells() if cell.outcome not in LEFT_OUT]
# Each phase, each fault and each outcome at least once, and those that differ most from one another.
FIFTH = [
    *("spawn-exit", "spawn-EMFILE", "handshake-garbage", "attach-SIGKILL", "auto-complete-exception"),
    *("initialize-ENOMEM", "restart-exit", "idle-SIGKILL", "idle-ENOMEM", "gather-SIGSEGV", "gather-SIGSTOP"),
    *("execute-SIGKILL", "execute-garbage", "execute-EMFILE", "respond-exit", "respond-garbage"),
    *(
        "stream-SIGKILL",
        "stream-exception",
        "call-SIGSEGV",
        "callee-hang",
        "finalize-SIGSTOP",
        "finalize-exit",
    ),
]
