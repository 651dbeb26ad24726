"""Where unpacked environments are kept: a folder that this user alone can write, and run programs from."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .problem import EnvironmentProblem, reason_of

SETTING = "--backend-config=python,environment-cache-directory=PATH"


def default_directory() -> Path:
    """The first that will do of `$XDG_CACHE_HOME/triton-python`, `~/.cache/triton-python`,
    `/var/tmp/triton-python-<uid>` and `/tmp/triton-python-<uid>`; made if it is missing.

    Raises:
        EnvironmentProblem: none of them will do; the message says why, for each.
    """
    refusals = []
    for folder in candidates():
        refusal = make_usable(folder)
        if refusal is None:
            return folder
        refusals.append(f"{folder} {refusal}")
    raise EnvironmentProblem(
        f"there is no folder to unpack environments into: {'; '.join(refusals)}. Name one with {SETTING}"
    )


def candidates() -> list[Path]:
    """Where the cache may be when no setting says so, the first choice first."""
    found = []
    # The XDG specification says that a relative path is to be ignored.
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if configured.is_absolute():
        found.append(configured / "triton-python")
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() fails for users without a home
    if home.is_dir():
        found.append(home / ".cache" / "triton-python")
    return [*found, *(Path(folder, f"triton-python-{os.geteuid()}") for folder in ("/var/tmp", "/tmp"))]


def make_usable(folder: Path) -> str | None:
    """Why environments cannot be unpacked into the folder, which is made if it is missing; or None."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        complaint = distrust(folder)
        if complaint is not None:
            return complaint
    except OSError as error:
        return f"cannot be written ({reason_of(error)})"
    if not os.access(folder, os.W_OK | os.X_OK):  # writes nothing: what is there can be used on a full disk
        return "cannot be written"
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return "is on a file system that is mounted noexec"
    return None


def distrust(folder: Path) -> str | None:
    """Why nothing that lies there is to be run: somebody else could have put it there; or None.

    Raises:
        OSError: it cannot be looked at.
    """
    for status in (folder.lstat(), folder.stat()):  # a link of somebody else's may lead anywhere
        if status.st_uid != os.geteuid():
            return f"belongs to another user (uid {status.st_uid}; this is uid {os.geteuid()})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"can be written by other users (mode {stat.S_IMODE(status.st_mode):04o}; run chmod go-w)"
    return None
