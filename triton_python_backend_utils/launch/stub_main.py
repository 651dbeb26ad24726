"""The process of a model: `<python> stub_main.py <socket fd> <model name> <server pid> [<facts>]`.

The backend starts it, or, when the model has an environment of its own, the launcher becomes it; then `facts`
is JSON: `environment`, the value of EXECUTION_ENV_PATH; `keep_open`, descriptors that hold the environment in
its cache; `phases`, what was done until now, with seconds; `core_directories`, where a `_core` may lie, too.

It tidies up what the process inherited, loads this package from where this file lies, without putting that
folder in front of the model's own imports, and hands over to the message loop in the compiled `_core`.
"""

from __future__ import annotations

import faulthandler
import importlib.machinery
import importlib.util
import os
import re
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGE = "triton_python_backend_utils"
PACKAGE_DIR = Path(__file__).parent.parent
DISTRIBUTION = "triton-python-backend"

# In place of the handshake's first message, from a process that cannot speak the protocol: this and a text.
FAILURE_MARK = b"TPBFAIL1"
LONGEST_FAILURE = 8 * 1024  # of both; half of what the server accepts in the place of a hello

PR_SET_PDEATHSIG = 1
OOM_SCORE = 500


def main() -> int:
    if len(sys.argv) not in (4, 5):
        print(f"usage: {sys.argv[0]} <socket fd> <model name> <server pid> [<facts>]", file=sys.stderr)
        return 2
    fd, model, server_pid = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    facts = read_facts(sys.argv[4:])
    end_with_server(model, server_pid)
    own_descriptors({fd, *facts.get("keep_open", ())})
    line_buffer_output()
    tell_stacks()
    volunteer_for_oom_kill()
    path_is_safe = not forget_script_folder()

    try:
        core = load_core(core_folders(facts))
    except ImportError as error:
        text = unusable_core(error)
        complain(model, text)
        send_failure(fd, text)
        return 1
    # The server hears from us before anything slow: numpy is often a large part of the time to load.
    attachment = core.connect(fd)
    try:
        loader = load_package(core)
        loader.know_launch(facts.get("environment", ""), facts.get("phases", ()))
    except Unusable as error:
        complain(model, str(error))
        attachment.fail(str(error))
        return 1
    look_like_an_interactive_interpreter(path_is_safe)
    attachment.serve(loader)
    return 0


class Unusable(Exception):
    """This Python cannot run models; the message says why and what to do."""


def end_with_server(model: str, server_pid: int) -> None:
    """Have the kernel kill this process with the server, and end at once when the server is gone already."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except ImportError:
        pass  # a Python built without libffi; `_core` watches the server too
    parent = os.getppid()  # 0: the server lives in another pid namespace
    if parent not in (0, server_pid):
        complain(model, f"its parent is process {parent} and not the server, process {server_pid}")
        os._exit(1)


def read_facts(arguments: list[str]) -> dict[str, Any]:
    if not arguments:
        return {}
    import json

    facts: dict[str, Any] = json.loads(arguments[0])
    return facts


def own_descriptors(ours: set[int]) -> None:
    """Close what the server had open, such as listening sockets; keep `ours` from what the model starts."""
    try:
        inherited = [int(entry) for entry in os.listdir("/proc/self/fd")]  # noqa: PTH208 - no Path per entry
    except OSError:
        start = 3
        for fd in [*sorted(ours), os.sysconf("SC_OPEN_MAX")]:
            os.closerange(start, fd)
            start = fd + 1
    else:
        for other in inherited:
            if other > 2 and other not in ours:
                os.closerange(other, other + 1)  # unlike close, silent about the listing's own descriptor
    for fd in ours:
        os.set_inheritable(fd, False)


def line_buffer_output() -> None:
    """Let every finished line reach the server's log at once."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def tell_stacks() -> None:
    """Have a crash print the stacks of all threads, which go to the server's log.

    The server sends SIGABRT for that to a process that is stuck: it needs no interpreter lock.
    """
    # Where stderr is closed there is nobody to tell.
    with suppress(AttributeError, OSError, RuntimeError, ValueError):
        faulthandler.enable()


def volunteer_for_oom_kill() -> None:
    """Be killed before the server when memory runs out: a model can be started again."""
    try:
        score = Path("/proc/self/oom_score_adj")
        if int(score.read_text("ascii")) < OOM_SCORE:
            score.write_text(str(OOM_SCORE), "ascii")
    except OSError:
        pass  # no /proc, or not ours to write: only the order of the kernel's choice is lost


def forget_script_folder() -> bool:
    """Take this script's folder off the import path; say whether it was there, as it is by default."""
    there = sys.path[:1] == [str(Path(__file__).resolve().parent)]
    if there:
        del sys.path[0]
    return there


def own_installation() -> list[Path]:
    """Where this interpreter has a package of ours itself, whose `_core` is for no other Python."""
    folders = (Path(folder) / PACKAGE for folder in sys.path if folder)
    return [folder for folder in folders if folder.is_dir()]


def core_folders(facts: dict[str, Any]) -> Iterator[str | Path]:
    """Where the `_core` for this interpreter may be, looked for one after the other."""
    yield PACKAGE_DIR
    yield from own_installation()
    yield from facts.get("core_directories", ())
    if not facts:
        yield from built_for_this_user()


def built_for_this_user() -> list[Path]:
    """The folders of what `triton-python stub build` made; the launcher would have told them."""
    name, folder = "_triton_python_launch", Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    load(spec)
    found: list[Path] = importlib.import_module(f"{name}.resolve").core_directories(None)
    return found


def load_core(folders: Iterable[str | Path]) -> ModuleType:
    """Load `_core` from the first folder that has one, alone: importing the package would import numpy."""
    name = f"{PACKAGE}._core"
    for folder in folders:
        spec = importlib.machinery.PathFinder.find_spec(name, [str(folder)])
        if spec is not None and spec.loader is not None:
            return load(spec)
    raise ModuleNotFoundError(name, name=name)


def load_package(core: ModuleType) -> ModuleType:
    """Import this package from its own folder, whatever else of that name is installed; return its loader."""
    check_numpy()
    init = PACKAGE_DIR / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        PACKAGE, init, submodule_search_locations=[str(PACKAGE_DIR)]
    )
    assert spec is not None
    try:
        package = load(spec)
        package._core = core  # type: ignore[attr-defined]
        sys.modules["c_python_backend_utils"] = core
        return importlib.import_module(f"{PACKAGE}._model_loader")
    except Exception as error:  # what is installed here is broken, in a way nobody foresaw
        raise Unusable(f"{this_python()} cannot import {PACKAGE_DIR}: {error!r}") from error


def load(spec: importlib.machinery.ModuleSpec) -> ModuleType:
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def check_numpy() -> None:
    check = PACKAGE_DIR / "_numpy_check.py"
    spec = importlib.util.spec_from_file_location(f"{PACKAGE}._numpy_check", check)
    assert spec is not None
    complaint = load(spec).complaint()
    if complaint is not None:
        raise Unusable(f"{this_python()} {complaint}")


def unusable_core(error: ImportError) -> str:
    build = f"build that part for it (triton-python stub build --python {sys.executable})"
    other = "choose another Python with EXECUTION_ENV_PATH or --backend-config=python,python-executable=PATH"
    if not isinstance(error, ModuleNotFoundError):
        return (
            f"{this_python()} cannot load the compiled part of {DISTRIBUTION}: {first_line(error)}. "
            f"Install {DISTRIBUTION} for it, {build}, or {other}"
        )
    built = " and ".join(built_versions()) or "no Python at all"
    return (
        f"{this_python()} cannot run models: {DISTRIBUTION} in {PACKAGE_DIR} is built for {built}. "
        f"Install {DISTRIBUTION} in that environment ({sys.executable} -m pip install, from a checkout or a "
        f"wheel), {build}, or {other}"
    )


def built_versions() -> list[str]:
    """The Pythons that the package has a `_core` for, as `3.11` or, free-threaded, `3.13t`."""
    files = sorted(PACKAGE_DIR.glob("_core.*.so"))
    found = [re.match(r"_core\.cpython-(\d)(\d+)(t?)-", file.name) for file in files]
    return [f"Python {match[1]}.{match[2]}{match[3]}" for match in found if match]


def look_like_an_interactive_interpreter(path_is_safe: bool) -> None:
    """Give the model the `__main__`, argv and path that an interpreter without a script has.

    A `__main__` with a file would be run a second time in every process that `multiprocessing` spawns.
    """
    if not path_is_safe:
        sys.path.insert(0, "")
    sys.argv = [""]
    sys.modules["__main__"] = ModuleType("__main__")


def send_failure(fd: int, text: str) -> None:
    message = (FAILURE_MARK + text.encode("utf-8", "backslashreplace"))[:LONGEST_FAILURE]
    try:
        with socket.socket(fileno=fd) as server:
            server.send(message)
    except OSError as error:
        print(f"the server does not listen: {error}", file=sys.stderr)


def complain(model: str, text: str) -> None:
    print(f"model '{model}': {text}", file=sys.stderr)


def this_python() -> str:
    return f"Python {dotted(sys.version_info[:3])} ({sys.executable})"


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
