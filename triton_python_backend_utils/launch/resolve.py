"""Decides which Python runs a model, from its configuration and its folder, and with which variables."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import elf, processes
from .activation import activated
from .archives import KINDS, kind_of
from .cache import EnvironmentCache, default_directory
from .cache_folder import candidates, distrust
from .interpreters import PythonFacts, ask, check, find_python, is_script
from .problem import EnvironmentProblem, reason_of
from .progress import Progress, timed
from .stub_files import StubFile, stub_file

PARAMETER = "EXECUTION_ENV_PATH"
MODEL_FOLDER = "$$TRITON_MODEL_DIRECTORY"
PACKAGE = Path(__file__).resolve().parent.parent
# Below the cache's folder: what `triton-python stub build` makes.
CORES = "cores"

_NUMPY_LIMIT_S = 120.0


@dataclass(frozen=True)
class Resolved:
    """How a model's process is to be started."""

    python: Path
    prefix: Path  # the environment's folder
    environ: dict[str, str]  # all its variables
    reason: str  # why that Python: "EXECUTION_ENV_PATH /data/env.tar.gz"
    environment: str = ""  # EXECUTION_ENV_PATH as configured; empty where there is none
    facts: PythonFacts | None = None  # None: the default Python, which was not asked
    keep_open: list[int] = field(default_factory=list)  # descriptors that the process inherits
    phases: list[tuple[str, float]] = field(default_factory=list)  # what was done, in seconds
    warnings: list[str] = field(default_factory=list)
    core_directories: list[Path] = field(default_factory=list)  # where else a `_core` may lie


@dataclass(frozen=True)
class Settings:
    """What the server was told about environments; None where it was told nothing."""

    cache_directory: Path | None = None
    cache_max_bytes: int | None = None
    default_python: Path = Path(sys.executable)


def resolve(
    config: Mapping[str, Any],
    model_folder: Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
    environ: Mapping[str, str] | None = None,
) -> Resolved:
    """The whole decision. An archive is unpacked, an environment's hooks are run.

    `config` is the model's configuration as the server has it, `model_folder` is `<repository>/<model>`,
    `environ` the variables of the server. What `progress` is warned of is in the result, too.

    Raises:
        EnvironmentProblem: the environment that the model asks for cannot run it.
    """
    work = _Resolution(
        Path(os.path.abspath(model_folder)),  # noqa: PTH100 - links in it stay
        settings or Settings(),
        progress or Progress(),
        os.environ if environ is None else environ,
    )
    try:
        return work.run(environment_path(config))
    except BaseException:
        for fd in work.keep_open:
            os.close(fd)
        raise


def environment_path(config: Mapping[str, Any]) -> str | None:
    """EXECUTION_ENV_PATH as the model's configuration has it, or None where it has none.

    Raises:
        EnvironmentProblem: it is there and names nothing.
    """
    parameter = (config.get("parameters") or {}).get(PARAMETER)
    if parameter is None:
        return None
    value = parameter.get("string_value")
    if not isinstance(value, str) or not value.strip():
        raise EnvironmentProblem(
            f"the parameter {PARAMETER} is empty. Name an environment's folder or archive in its "
            "string_value, or remove the parameter to use the default Python"
        )
    return value


class _Resolution:
    """The decision for one model, while it is made."""

    def __init__(
        self, model_folder: Path, settings: Settings, progress: Progress, environ: Mapping[str, str]
    ) -> None:
        self._model_folder = model_folder
        self._settings = settings
        self._progress = progress
        self._environ = environ
        self._phases: list[tuple[str, float]] = []
        self._warnings: list[str] = []
        self._cores = core_directories(settings.cache_directory)
        self.keep_open: list[int] = []

    def run(self, value: str | None) -> Resolved:
        stub = stub_file(self._model_folder)
        if stub is not None:
            self._tell_about(stub, is_chosen=value is None)
        if value is not None:
            found = self._configured(value)
        elif stub is not None and stub.python is not None:
            found = self._of_program(stub.python, f"{stub.path} selects it", "")
        elif stub is not None and stub.version is not None:
            python = self._python_of_version(stub, stub.version)
            found = self._of_program(python, f"{stub.path} was built for Python {stub.version}", "")
        else:
            found = self._default()
        took = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in self._phases)
        self._progress.step(f"runs in {found.python} ({found.reason})" + (f": {took}" if took else ""))
        return found

    def _configured(self, value: str) -> Resolved:
        """The environment that EXECUTION_ENV_PATH names."""
        reason = f"{PARAMETER} {value}"
        path = Path(value.replace(MODEL_FOLDER, str(self._model_folder)))
        if not path.is_absolute():
            raise EnvironmentProblem(
                f"{reason} is a relative path, and the server's current folder is no place to rely on. "
                f"Write an absolute path, or {MODEL_FOLDER}/{value} for a path in the model's folder"
            )
        kind = _kind(path, value)
        if kind == "program":
            return self._of_program(path, reason, value)
        if kind == "folder":
            is_packed = (path / "bin" / "conda-unpack").is_file()
            return self._finish(find_python(path), path, is_packed, reason, value)
        directory = self._settings.cache_directory or default_directory()
        cache = EnvironmentCache(directory, self._settings.cache_max_bytes)
        cached = cache.acquire(path, self._progress)
        self.keep_open.append(cached.lock)
        self._phases += cached.phases
        return self._finish(find_python(cached.prefix), cached.prefix, True, reason, value)

    def _of_program(self, python: Path, reason: str, value: str) -> Resolved:
        """An interpreter itself, or a script that starts one, as the shims of pyenv are."""
        if not python.is_file():
            raise EnvironmentProblem(
                f"{python} does not exist ({reason}). Name a Python that does, or remove what names this one"
            )
        facts = None
        if _starts_another(python):
            facts = ask(python, self._environ, self._progress.alive)
            python = Path(facts.executable or python)
        in_bin = python.parent.name == "bin"
        prefix = python.parent.parent if in_bin else Path((facts or self._ask(python)).prefix)
        return self._finish(python, prefix, False, reason, value)

    def _finish(self, python: Path, prefix: Path, packed: bool, reason: str, value: str) -> Resolved:
        alive = self._progress.alive
        has_hooks = (prefix / "etc" / "conda" / "activate.d").is_dir()
        with timed("activating", self._phases if has_hooks else []):
            environ = activated(self._environ, prefix, packed, alive, self._warn)
        facts = ask(python, environ, alive)
        if _starts_another(python) and facts.executable:
            python = Path(facts.executable)
        check(python, facts, [PACKAGE, *self._cores])
        return Resolved(
            python,
            prefix,
            environ,
            reason,
            value,
            facts,
            self.keep_open,
            self._phases,
            self._warnings,
            self._cores,
        )

    def _default(self) -> Resolved:
        python = self._settings.default_python
        return Resolved(
            python,
            python.parent.parent,
            dict(self._environ),
            "the default Python",
            phases=self._phases,
            warnings=self._warnings,
            core_directories=self._cores,
        )

    def _tell_about(self, stub: StubFile, is_chosen: bool) -> None:
        if stub.python is not None:
            if not is_chosen:
                self._progress.step(f"{stub.path} selects {stub.python}, and {PARAMETER} overrides it")
        elif stub.version is not None:
            self._warn(
                f"{stub.path} was built for NVIDIA's backend, with libpython{stub.version}, and is not run: "
                "models run in a Python itself here. Remove the file, and name an environment with "
                f"{PARAMETER} where the default Python is not the right one"
            )
        else:
            self._warn(
                f"{stub.path} {stub.problem}: it is not ours and is not run. Remove it, or copy the one "
                "that is installed with the environment that the model needs"
            )

    def _python_of_version(self, stub: StubFile, version: str) -> Path:
        """A Python of the version that a program for NVIDIA's backend was built for, which can run models."""
        folders = self._environ.get("PATH", os.defpath).split(os.pathsep)
        named = [Path(folder, f"python{version}") for folder in folders if folder]
        refusals = []
        for python in [self._settings.default_python, *named]:
            if not python.is_file():
                continue
            try:
                refusal = self._unfit(python, version)
            except EnvironmentProblem as problem:
                refusal = str(problem)
            if refusal is None:
                return python
            refusals.append(refusal)
        raise EnvironmentProblem(
            f"{stub.path} was built for NVIDIA's backend and Python {version}, and no Python of that version "
            f"that can run models is on the server's PATH ({'; '.join(refusals) or 'there is none'}). Remove "
            f"the file to use the default Python, or name an environment with {PARAMETER}"
        )

    def _unfit(self, python: Path, version: str) -> str | None:
        """Why that Python cannot run the model, or None."""
        facts = self._ask(python)
        if facts.version_text().rpartition(".")[0] != version:
            return f"{python} is Python {facts.version_text()}"
        if not any((folder / f"_core{facts.ext_suffix}").is_file() for folder in [PACKAGE, *self._cores]):
            return f"for {python} there is no compiled part (_core{facts.ext_suffix})"
        try:
            ended = processes.run(
                [python, "-B", "-c", "import numpy"], self._environ, self._progress.alive, _NUMPY_LIMIT_S
            )
        except processes.Overdue:
            return f"{python} does not import numpy within {_NUMPY_LIMIT_S:.0f} s"
        return None if ended.status == 0 else f"{python} cannot import numpy: {ended.last_words()}"

    def _ask(self, python: Path) -> PythonFacts:
        return ask(python, self._environ, self._progress.alive)

    def _warn(self, text: str) -> None:
        self._warnings.append(text)
        self._progress.warn(text)


def core_directories(cache_directory: Path | None) -> list[Path]:
    """The folders that may hold what `triton-python stub build` made, and that nobody else can write."""
    folders = [cache_directory] if cache_directory is not None else candidates()
    found = []
    for folder in folders:
        try:
            if distrust(folder) is None and distrust(folder / CORES) is None:
                found.append(folder / CORES)
        except OSError:
            continue  # it is not there
    return found


def _starts_another(python: Path) -> bool:
    try:
        return is_script(python)
    except OSError:
        return False  # a program that may be executed and not read


def _kind(path: Path, value: str) -> str:
    """Whether a path is a "folder", an "archive", or a "program", by its content.

    Raises:
        EnvironmentProblem: it is none of them, or cannot be read.
    """
    told = f"{PARAMETER} names {path}" + (f" ({value})" if str(path) != value else "")
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return "folder"
        if not stat.S_ISREG(status.st_mode):
            raise EnvironmentProblem(f"{told}, which is neither a folder nor a file")
        with path.open("rb") as file:
            start = file.read(4)
            if start == elf.MAGIC or start.startswith(b"#!"):
                return "program"
            if kind_of(file.fileno()) is not None:
                return "archive"
    except (FileNotFoundError, NotADirectoryError):
        raise EnvironmentProblem(
            f"{told}, which does not exist. Check the path; in a container, check that it is mounted there"
        ) from None
    except OSError as error:
        raise EnvironmentProblem(
            f"{told}, which the user of the server (uid {os.geteuid()}) cannot read: {reason_of(error)}"
        ) from error
    what = "is empty" if status.st_size == 0 else "is none of them"
    raise EnvironmentProblem(
        f"{told}, which {what}: expected an environment's folder, an archive of one ({KINDS}) or a Python"
    )
