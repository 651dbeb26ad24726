"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any


def facts() -> dict[str, Any]:
    return {
        "cpu": _field("/proc/cpuinfo", r"^model name\s*:\s*(.+)$"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": int(_field("/proc/meminfo", r"^MemTotal:\s*(\d+)") or 0) // 1024,
        "kernel": platform.release(),
        "system": _field("/etc/os-release", r'^PRETTY_NAME="?([^"\n]+)'),
        "libc": " ".join(platform.libc_ver()),
    }


def sentence(of: dict[str, Any]) -> str:
    memory = of["memory_mib"] / 1024
    return f"{of['cores']} cores {of['cpu']}, {memory:.0f} GiB, {of['system']}, kernel {of['kernel']}"


def load() -> float:
    """How many threads wanted to run lately; above a few, other work disturbs the figures."""
    return os.getloadavg()[0]


def _field(path: str, pattern: str) -> str:
    try:
        found = re.search(pattern, Path(path).read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip() if found else ""
