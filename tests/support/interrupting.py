"""Ends `install` and `uninstall` at every step that they take in the file system, and looks at what is left.

Usage: `python interrupting.py FOLDER FILE_SYSTEM ACTION NEXT_ACTION`. A program of its own, because it forks:
the kernel tells Python, and Python tells its audit hooks, of each step before it is taken, and a child ends
there at once, as by SIGKILL. What must be true then, and after the next action, is asserted.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from installing import library_text, scratch_left, small_installation, small_server
from trees import snapshot

from triton_python import TritonPythonError, install_backend, uninstall_backend
from triton_python import _install as install_module
from triton_python._backend_dir import Installation

STEPS = {
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.chmod",
    "os.utime",
    "shutil.copytree",
    "ctypes.dlsym",
}
CRASHED = 9
# More than any of these take.
MOST_STEPS = 200

Action = Callable[[Path, Installation], object]


def crashes_at(step: int, action: Callable[[], object]) -> bool:
    """Whether `action`, in a child process, reaches that step, at which the child ends."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            left = step

            def hook(event: str, arguments: tuple[object, ...]) -> None:
                nonlocal left
                writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
                if writes or event in STEPS:
                    left -= 1
                    if left == 0:
                        os._exit(CRASHED)

            sys.addaudithook(hook)
            action()
            status = 0
        finally:
            os._exit(status)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, CRASHED)
    return ended == CRASHED


def is_whole(server: Path) -> bool:
    """Whether the backend is one of those that were or are to be, and all of it."""
    library = library_text(server)
    names = {entry.name for entry in (server / "backends" / "python").iterdir()}
    if library == "their library":
        return names == {
            "libtriton_python.so",
            "link",
            "triton_python_backend_stub",
            "triton_python_backend_utils.py",
        }
    package = server / "backends" / "python" / "triton_python_backend_utils"
    ours = {"libtriton_python.so", "triton_python_backend_utils", "interpreter.txt", "triton-python.json"}
    return ours <= names and (package / "__init__.py").read_text() == f"which = {library.split()[-1]!r}\n"


def install(server: Path, ours: Installation) -> object:
    return install_backend(server, ours)


def uninstall(server: Path, ours: Installation) -> object:
    return uninstall_backend(server)


FILE_SYSTEMS = ("swaps", "renames", "copies")
ACTIONS = ("install", "install again", "uninstall")


def use(file_system: str) -> None:
    """What it can do with folders: swap two in one step, rename them, or (overlayfs) not all of them."""
    if file_system != "swaps":
        install_module.exchange = lambda one, other: False
    if file_system == "copies":
        original = Path.rename

        def rename(self: Path, target: Path) -> Path:
            if self.name in ("python", "python.nvidia") and (self / "link").is_symlink():  # theirs
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            return original(self, target)

        Path.rename = rename  # type: ignore[method-assign,assignment]


def interrupt_everywhere(folder: Path, file_system: str, action: str, then: Action) -> None:
    use(file_system)
    older = small_installation(folder / "older", "older")
    ours = small_installation(folder / "ours")
    for step in range(1, MOST_STEPS):
        server = small_server(folder / f"server{step}")
        theirs = snapshot(server)
        if action != "install":
            install_backend(server, older)
            (server / "backends" / "python" / "mine.txt").write_text("mine")

        run = uninstall if action == "uninstall" else install
        crashed = crashes_at(step, functools.partial(run, server, ours))

        # Without a swap there is a moment with neither; what was to be in its place is beside it then.
        assert file_system != "swaps" or is_whole(server), step
        leave_in_order(server, ours, then, theirs, has_mine=action != "install")
        if not crashed:
            break
    assert 10 < step < MOST_STEPS - 1


def refused(action: Action, server: Path, ours: Installation) -> str:
    """Why the action was refused; empty when it was not."""
    try:
        action(server, ours)
    except TritonPythonError as error:
        return str(error)
    return ""


def leave_in_order(
    server: Path, ours: Installation, then: Action, theirs: dict[str, object], has_mine: bool
) -> None:
    """The next run, and what must be true after it, and after an uninstall in any case."""
    backends = server / "backends"
    refusal = refused(then, server, ours)
    assert refusal == "" or (then is uninstall and "was not put there by triton-python" in refusal)
    if then is install:
        assert library_text(server) == "our library, new"
        assert is_whole(server)
        assert scratch_left(server) == []
        uninstall_backend(server)
    assert scratch_left(server) == []
    added = sorted(backends.glob("python.added/*"))
    assert bool(added) == has_mine
    assert {file.read_text() for file in added} <= {"mine"}
    shutil.rmtree(backends / "python.added", ignore_errors=True)
    assert snapshot(server) == theirs


if __name__ == "__main__":
    interrupt_everywhere(
        Path(sys.argv[1]), sys.argv[2], sys.argv[3], {"install": install, "uninstall": uninstall}[sys.argv[4]]
    )
