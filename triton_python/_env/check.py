"""`triton-python env check`: starts the Python that a model would get, and says what it finds there."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from triton_python._doctor.interpreter import OLDEST_NUMPY
from triton_python._doctor.result import CheckResult, Finding, failed, ok, warning
from triton_python._doctor.subject import Subject
from triton_python._env.check_probe import MARK
from triton_python._env.launching import EnvironmentProblem, Start, start_of
from triton_python._env.model import Model, find_model, imports_of
from triton_python._errors import TritonPythonError
from triton_python._marker import DISTRIBUTION

PROBE = Path(__file__).with_name("check_probe.py")
PROBE_SECONDS = 120
# Where the name of a package is not the one that it is imported under.
_PACKAGES = {
    "cv2": "opencv-python-headless",
    "PIL": "Pillow",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "yaml": "PyYAML",
    "google": "protobuf",
    "tensorflow": "tensorflow",
    "dateutil": "python-dateutil",
}


@dataclass(frozen=True)
class CheckSettings:
    """What the person wants."""

    place: str
    python: str = ""
    """The Python of models that ask for no environment."""
    cache: str = ""


@dataclass(frozen=True)
class _Seen:
    """What the checks look at."""

    model: Model
    start: Start
    told: Mapping[str, Any]
    imports: Sequence[str]
    ended: str = ""
    """How the process ended, if not well."""

    @property
    def python(self) -> str:
        return str(self.start.python)

    def install(self, packages: Sequence[str]) -> str:
        """How to get packages to where the model finds them."""
        command = f"-m pip install {' '.join(packages)}"
        if not self.start.packed:
            return f"{self.python} {command}"
        return f"install them into the environment that was packed (python {command}), and pack it again"


def check_model(settings: CheckSettings) -> list[CheckResult]:
    """What is found about the model's environment.

    Raises:
        TritonPythonError: there is no such model.
    """
    model = find_model(settings.place)
    return [
        CheckResult(name, finding.status, finding.found, finding.advice)
        for name, finding in _findings(model, settings)
    ]


def _findings(model: Model, settings: CheckSettings) -> Iterator[tuple[str, Finding]]:
    names: list[str] = []
    broken = _broken_file(model)
    if broken is None:
        names = imports_of(model.file)
    else:
        yield "model", broken
    subject = Subject(python=settings.python)
    try:
        start = start_of(model, subject, settings.cache)
    except (EnvironmentProblem, TritonPythonError) as problem:
        yield "interpreter", _split(str(problem))
        return
    try:
        yield "interpreter", ok(f"{start.python}: {start.reason}")
        for text in start.warnings:
            yield "environment", warning(text, "see docs/environments.md")
        seen = _ask(model, start, subject.installation.package, names)
        if "version" not in seen.told:
            yield "python", failed(f"{seen.python} does not start: {seen.ended}", "make the environment anew")
            return
        yield "python", _python(seen)
        yield "compiled-module", _compiled_module(seen)
        yield "numpy", _numpy(seen)
        yield "glibc", ok(f"{seen.told['libc'] or 'none'} on {seen.told['machine']}")
        yield "libstdc++", _libstdcxx(seen)
        if broken is None:
            yield "imports", _imports(seen)
    finally:
        start.close()


def _broken_file(model: Model) -> Finding | None:
    try:
        imports_of(model.file)
    except FileNotFoundError:
        return failed(f"there is no {model.file}", "write it, or name another in default_model_filename")
    except (OSError, SyntaxError, ValueError) as error:
        return failed(f"{model.file} cannot be read: {error}", "mend it")
    return None


def _split(problem: str) -> Finding:
    """The last sentence of a problem is what to do about it."""
    found, _, advice = problem.rstrip(".").rpartition(". ")
    return failed(found or advice, advice if found else "see docs/environments.md")


def _ask(model: Model, start: Start, package: Path, imports: Sequence[str]) -> _Seen:
    question = {
        "cores": [str(folder) for folder in (package, *start.core_folders)],
        "imports": list(imports),
        "path": [str(model.file.parent), str(model.folder)],
    }
    try:
        result = subprocess.run(
            [start.python, "-B", PROBE, json.dumps(question)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=dict(start.environ),
            cwd="/",
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _Seen(model, start, {}, imports, f"it did not answer within {PROBE_SECONDS} s")
    except OSError as error:
        return _Seen(model, start, {}, imports, f"{error.strerror}")
    told: dict[str, Any] = {}
    for line in result.stdout.splitlines():
        if line.startswith(MARK):
            told.update(json.loads(line[len(MARK) :]))
    ended = "" if result.returncode == 0 else _ending(result)
    # What it did not live to tell is what ended it.
    for stage in ("numpy", "core"):
        if ended and f"{stage}_error" not in told:
            told[f"{stage}_error"] = ended
    return _Seen(model, start, told, imports, ended)


def _ending(result: subprocess.CompletedProcess[str]) -> str:
    if result.returncode < 0:
        return f"it was ended by {signal.Signals(-result.returncode).name}"
    said = result.stderr.strip().splitlines() or ["it said nothing"]
    return f"it ended with status {result.returncode}: {said[-1]}"


def _python(seen: _Seen) -> Finding:
    dotted = ".".join(str(part) for part in seen.told["version"])
    found = f"Python {dotted}, {seen.told['ext_suffix']}, prefix {seen.told['prefix']}"
    if tuple(seen.told["version"]) < (3, 9):
        return failed(found, "models need Python 3.9 or newer: make the environment with a newer one")
    return ok(found)


def _compiled_module(seen: _Seen) -> Finding:
    told, ours = seen.told, version(DISTRIBUTION)
    build = f"build it once: triton-python stub build --python {seen.python}"
    if told["core_error"]:
        where = f"{told['core_path']} does not load: " if told.get("core_path") else ""
        return failed(f"{where}{told['core_error']}", build)
    if told["core"] != ours:
        return failed(f"{told['core_path']} is of version {told['core']}, triton-python is {ours}", build)
    return ok(f"{told['core_path']} ({told['core']})")


def _numpy(seen: _Seen) -> Finding:
    told = seen.told
    oldest = ".".join(str(part) for part in OLDEST_NUMPY)
    install = seen.install([f"'numpy>={oldest}'"])
    if told["numpy_error"]:
        return failed(f"it cannot be imported: {told['numpy_error']}", install)
    if tuple(int(part) for part in re.findall(r"\d+", told["numpy"])[:2]) < OLDEST_NUMPY:
        return failed(f"numpy {told['numpy']} is too old", install)
    return ok(f"numpy {told['numpy']}")


def _libstdcxx(seen: _Seen) -> Finding:
    path = seen.told.get("libstdcxx")
    if not path:
        return warning(
            "none is found, and packages that are written in C++ need one",
            "install it on this machine (Debian: libstdc++6), or conda's libstdcxx-ng into the environment",
        )
    return ok(f"{path} (GLIBCXX_{seen.told['glibcxx']})")


def _imports(seen: _Seen) -> Finding:
    if "missing" not in seen.told:
        return warning(f"not looked at: {seen.ended}", "mend what is above")
    present = [f"{name} {number}".strip() for name, number in sorted(seen.told["versions"].items())]
    if seen.told["missing"]:
        packages = [_PACKAGES.get(name, name) for name in seen.told["missing"]]
        rest = f"; it has {', '.join(present)}" if present else ""
        return failed(
            f"{seen.model.file} imports what is missing there: {', '.join(seen.told['missing'])}{rest}",
            seen.install(packages),
        )
    return ok(", ".join(present) if present else "nothing but the standard library")
