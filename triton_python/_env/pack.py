"""`triton-python env pack`: an environment becomes one archive that models can run in on other machines."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from triton_python._env.archive import suffix_of, write_archive
from triton_python._env.bytecode import add_bytecode
from triton_python._env.collect import SYSTEM_PREFIXES, collect
from triton_python._env.conda import collect_conda
from triton_python._env.facts import Environment, look_at
from triton_python._env.libraries import relocate_libraries
from triton_python._env.runtime import add_runtime
from triton_python._env.tree import Tree
from triton_python._env.verify import verify
from triton_python._errors import TritonPythonError
from triton_python._paths import absolute_path
from triton_python._progress import Progress


@dataclass(frozen=True)
class PackSettings:
    """What the person wants."""

    place: str = ""
    """The environment; the one that runs this if it is empty."""
    output: str = ""
    force: bool = False
    fast: bool = False
    bytecode: bool = True
    ignore_editable: bool = False
    ignore_missing: bool = False


@dataclass(frozen=True)
class Packed:
    """An archive that was written and works."""

    archive: Path
    size: int
    digest: str
    environment: Environment
    files: int
    libraries: list[str]
    """What it takes from the machine, beside the C library."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Gathered:
    tree: Tree
    originals: list[Path]
    """Of what lies there, nothing may be used by what was packed."""
    notes: list[str]


def pack(settings: PackSettings) -> Packed:
    """Writes the archive, and tries it.

    Raises:
        TritonPythonError: it cannot be written, or does not work; then there is none.
    """
    environment = look_at(settings.place)
    target = _target(settings, environment)
    suffix = suffix_of(target.name)
    try:
        # On the archive's file system, which has the room; a name that says whose it is if we are killed.
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            gathered = _gather(environment, settings, Path(scratch))
            written = Path(scratch, f"archive{suffix}")
            _write(gathered.tree, written, suffix, settings.fast)
            verified = verify(written, Path(scratch, "unpacked"), gathered.originals)
            size = written.stat().st_size
            written.replace(target)
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}" if error.strerror and error.filename else str(error)
        raise TritonPythonError(f"cannot pack {environment.prefix} into {target} ({reason})") from error
    return Packed(
        archive=target,
        size=size,
        digest=verified.digest,
        environment=environment,
        files=len(gathered.tree.entries),
        libraries=verified.libraries,
        notes=gathered.notes,
    )


def _target(settings: PackSettings, environment: Environment) -> Path:
    target = absolute_path(settings.output or _default_name(environment))
    if not target.parent.is_dir():
        raise TritonPythonError(f"the folder {target.parent} for the archive does not exist: make it first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise TritonPythonError(
            f"the folder {target.parent} for the archive cannot be written: choose another"
        )
    if target.is_dir() or (target.exists() and not settings.force):
        raise TritonPythonError(
            f"{target} is there already: choose another name with --output, or replace it with --force"
        )
    return target


def _default_name(environment: Environment) -> str:
    name = environment.prefix.name.lstrip(".")
    if not environment.is_conda and not environment.is_virtual:
        name = "python" + ".".join(str(part) for part in environment.version[:2])
    return f"{name or 'env'}.tar.gz"


def _gather(environment: Environment, settings: PackSettings, scratch: Path) -> _Gathered:
    def folder(name: str) -> Path:
        made = scratch / name
        made.mkdir()
        return made

    if environment.is_conda:
        return _gather_conda(environment, settings, scratch)
    collected = collect(environment, settings.ignore_editable, folder("made"))
    relocate_libraries(collected, folder("libraries"))
    notes = [*collected.notes, add_runtime(collected.tree, environment, collected.packages)]
    if settings.bytecode:
        add_bytecode(collected.tree, environment.base_executable, folder("bytecode"))
    collected.tree.drop_broken_links()
    originals = [environment.prefix, *environment.site_folders, *collected.base.stdlib_folders]
    originals += [collected.base.prefix]
    return _Gathered(collected.tree, [one for one in originals if one not in SYSTEM_PREFIXES], notes)


def _gather_conda(environment: Environment, settings: PackSettings, scratch: Path) -> _Gathered:
    prefix = environment.prefix
    tree = collect_conda(prefix, scratch, settings.ignore_editable, settings.ignore_missing)
    folders = [folder for folder in environment.site_folders if prefix in folder.parents]
    packages = folders[0].relative_to(prefix).as_posix()
    return _Gathered(tree, [prefix], [add_runtime(tree, environment, packages)])


def _write(tree: Tree, target: Path, suffix: str, fast: bool) -> None:
    with Progress("packing") as progress:
        write_archive(tree, target, suffix, fast, _counter(progress, tree.size))


def _counter(progress: Progress, total: int) -> Callable[[int], None]:
    done = 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        progress.update(done, total)

    return told
