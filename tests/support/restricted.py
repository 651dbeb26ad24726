"""Runs a command with less than this process has: without root's powers, with limits, with own mounts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

# Root may write anywhere, until it gives away what lets it; the bounding set is what `exec` leaves it.
_WITHOUT_POWERS = """
import ctypes, os, sys
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_NET_BIND_SERVICE, PR_CAPBSET_DROP = 1, 2, 3, 10, 24
for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_NET_BIND_SERVICE):
    if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
        sys.exit("cannot give away root's powers")
os.execv(sys.argv[1], sys.argv[1:])
"""


def without_powers(command: Sequence[str]) -> list[str]:
    """The command, run so that permissions hold even for root."""
    if os.geteuid() != 0:
        return list(command)
    return [sys.executable, "-c", _WITHOUT_POWERS, *command]


def with_limit(option: str, value: int, command: Sequence[str]) -> list[str]:
    """The command, run after `ulimit <option> <value>`."""
    return ["bash", "-c", f'ulimit {option} {value} && exec "$@"', "bash", *command]


def in_namespace(script: str) -> subprocess.CompletedProcess[str]:
    """Runs a script of bash where it may mount what it likes; nobody else sees that."""
    identity = ["--map-root-user"] if os.geteuid() != 0 else []
    command = ["unshare", "--mount", *identity, "bash", "-ec", script]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def may_mount(kind: str, options: str, target: str) -> bool:
    """Whether this machine lets us mount that."""
    return in_namespace(f"mount -t {kind} -o {options} none {target}").returncode == 0
