"""NVIDIA's own Python backend, from the wheel that the server comes from, with a Python that fits it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from comparison.backends import UPSTREAM, Backend, versions
from comparison.fetch import install, unpacked
from comparison.process import Failed
from comparison.pythons import Python, shared_pythons

WHEEL = "nvidia-pytriton==0.7.0"
BACKEND = "pytriton/tritonserver/backends/python"
STUBS = "pytriton/tritonserver/python_backend_stubs"
LIBRARIES = "nvidia_pytriton.libs"
STUB = "triton_python_backend_stub"


@dataclass(frozen=True)
class Upstream:
    """The backend, and the environment of Python that its models run in."""

    backend: Backend
    python: Path
    minor: int


def set_up(folder: Path, server_library: Path, log: Path) -> Upstream:
    """Everything under `folder`, made once.

    Raises:
        Failed: something that it needs is not on this machine and cannot be fetched.
    """
    wheel = unpacked(WHEEL, _is_wanted, folder / WHEEL.replace("==", "-"), log)
    if not (wheel / LIBRARIES / server_library.name).is_file():
        raise Failed(f"{server_library} is not the server that the backend in {WHEEL} is made for")
    reasons = []
    for python in shared_pythons():
        try:
            return _with_python(folder, wheel, python, log)
        except Failed as failure:
            reasons.append(f"Python {python.version}: {failure}")
    raise Failed("; ".join(reasons) or "no Python from 3.8 to 3.12 with a shared libpython is installed")


def _is_wanted(name: str) -> bool:
    return name.startswith((f"{BACKEND}/", f"{STUBS}/", f"{LIBRARIES}/"))


def _with_python(folder: Path, wheel: Path, python: Python, log: Path) -> Upstream:
    stub = wheel / STUBS / f"3.{python.minor}" / STUB
    if not stub.is_file():
        raise Failed(f"{WHEEL} has no stub for it")
    environment = install(python.executable, python.numpy, folder / f"python-3.{python.minor}", log)
    site_packages = environment.parent.parent / "lib" / f"python3.{python.minor}" / "site-packages"
    variables = {
        "LD_LIBRARY_PATH": str(python.library_folder),
        # The stubs for 3.11 and newer go by the python3 of PATH alone, the older ones by the other two.
        "PATH": str(environment.parent),
        "PYTHONHOME": str(python.prefix),
        "PYTHONPATH": str(site_packages),
    }
    backends = _backend_folder(folder / f"upstream-3.{python.minor}", wheel, stub)
    backend = Backend(
        name=UPSTREAM,
        in_config="python",
        directory=backends,
        variables=variables,
        python=versions(environment),
    )
    _check_stub(backends / "python" / STUB, backend)
    return Upstream(backend, environment, python.minor)


def _backend_folder(folder: Path, wheel: Path, stub: Path) -> Path:
    """A folder of backends whose `python` is NVIDIA's with the stub beside it.

    Its files find their libraries in `nvidia_pytriton.libs` four folders up, as they do in the wheel.
    """
    backends = folder / "pytriton" / "tritonserver" / "backends"
    libraries = folder / LIBRARIES
    if not (backends / "python" / STUB).exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(wheel / BACKEND, backends / "python")
        libraries.symlink_to(wheel / LIBRARIES)
        shutil.copy(stub, backends / "python" / STUB)
        (backends / "python" / STUB).chmod(0o755)
    return backends


def _check_stub(stub: Path, backend: Backend) -> None:
    answer = subprocess.run(
        ["ldd", stub], capture_output=True, text=True, env=backend.environment([]), check=False
    )
    missing = [line.split()[0] for line in answer.stdout.splitlines() if "not found" in line]
    if missing:
        raise Failed(f"its stub does not find {', '.join(missing)}")
