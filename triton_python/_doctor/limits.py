"""Checks of what the kernel allows a server and the processes of its models: memory and descriptors."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

from triton_python._doctor.result import Finding, failed, ok, warning
from triton_python._doctor.subject import Subject

# Where a container sees its own limit: version 2 and version 1 of control groups.
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
NOEXEC_SETTING = Path("/proc/sys/vm/memfd_noexec")
MOST_BY_DEFAULT = 64 << 30
LEAST = 4 << 20
SETTING = "--backend-config=python,shm-max-byte-size"
# What a server holds by itself, and, with some room to spare, for each instance of a model.
DESCRIPTORS_OF_SERVER = 64
DESCRIPTORS_PER_INSTANCE = 8
FEW_DESCRIPTORS = 512
ENOUGH_DESCRIPTORS = 4096
_MFD_NOEXEC_SEAL = 8


def memory(_: Subject) -> Finding:
    """How much shared memory one model instance may use, and which limit decides that."""
    limits = _memory_limits()
    least = min(limits, key=lambda name: limits[name])
    size = limits[least]
    found = f"a model instance may use {_human(size)} of shared memory (shm-max-byte-size), from {least}"
    if size < LEAST:
        return failed(
            found,
            f"at least {_human(LEAST)} are needed: raise {least}{_ulimit(least)} where the server starts",
        )
    if _ulimit(least):
        return warning(
            found,
            f"the server inherits this limit: raise it{_ulimit(least)}, or choose a size with {SETTING}",
        )
    return ok(found)


def memfd(_: Subject) -> Finding:
    """Whether the nameless memory that tensors travel in can be made."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        try:
            handle = os.memfd_create("triton-python-doctor", flags | _MFD_NOEXEC_SEAL)
        except OSError as error:
            if error.errno != errno.EINVAL:  # kernels before 6.3 do not know the flag
                raise
            handle = os.memfd_create("triton-python-doctor", flags)
        try:
            os.ftruncate(handle, 1 << 20)
        finally:
            os.close(handle)
    except OSError as error:
        return failed(
            f"memfd_create is refused: {error.strerror}{_noexec()}",
            "allow memfd_create in the container's seccomp profile, as Docker's and Podman's own profiles do",
        )
    return ok(f"memfd_create works{_noexec()}; nothing is needed in /dev/shm")


def descriptors(_: Subject) -> Finding:
    """How many model instances and clients the limit on open files leaves room for."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return ok("open files are not limited")
    room = max(soft - DESCRIPTORS_OF_SERVER, 0) // DESCRIPTORS_PER_INSTANCE
    found = f"{soft} open files: room for about {room} model instances and clients"
    advice = f"raise the limit where the server starts: ulimit -n {ENOUGH_DESCRIPTORS}"
    if room < 1:
        return failed(found, advice)
    return warning(found, advice) if soft < FEW_DESCRIPTORS else ok(found)


def _memory_limits() -> dict[str, int]:
    """As the backend sees them when shm-max-byte-size is not set."""
    limits = {
        "the memory of this machine": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE"),
        "the most that is taken by default": MOST_BY_DEFAULT,
    }
    for file in CGROUP_LIMITS:
        try:
            limits[f"the control group's limit ({file})"] = int(file.read_text())
        except (OSError, ValueError):
            continue  # the other version of control groups, or "max"
    for name, kind, share in (
        ("RLIMIT_FSIZE", resource.RLIMIT_FSIZE, 1),
        ("RLIMIT_AS", resource.RLIMIT_AS, 2),
    ):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            limits[name if share == 1 else f"half of {name}"] = soft // share
    return limits


def _ulimit(limit: str) -> str:
    option = "-f" if "RLIMIT_FSIZE" in limit else "-v" if "RLIMIT_AS" in limit else ""
    return f" (ulimit {option} unlimited)" if option else ""


def _noexec() -> str:
    try:
        level = NOEXEC_SETTING.read_text().strip()
    except OSError:
        return ""
    return f" (vm.memfd_noexec={level})" if level != "0" else ""


def _human(size: int) -> str:
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}".replace(".0 ", " ")
    return f"{size} bytes"
