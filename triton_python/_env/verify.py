"""Tries an archive as a server would: unpacks it, starts its Python with nothing around it, imports."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from triton_python._env.launching import EnvironmentProblem, unpacked
from triton_python._env.verify_script import MARK
from triton_python._errors import TritonPythonError
from triton_python._marker import DISTRIBUTION

SCRIPT = Path(__file__).with_name("verify_script.py")
LIMIT_S = 300
DELETED = "the archive was written and does not work, so it was deleted"
# Parts of the C library, which every machine has, of its own version.
_OF_LIBC = re.compile(
    r"(ld-linux|ld64|libc|libm|libdl|librt|libpthread|libutil|libresolv|libnss_|libanl|libmvec)\b"
)


@dataclass(frozen=True)
class Verified:
    """What an archive turned out to be."""

    digest: str
    libraries: list[str]
    """What its Python takes from the machine, beside the C library."""


def verify(archive: Path, scratch: Path, originals: list[Path]) -> Verified:
    """Unpacks `archive` below `scratch` and imports there what every model needs.

    Args:
        originals: folders that it was packed from, of which nothing may be used.

    Raises:
        TritonPythonError: it does not work anywhere else than here.
    """
    try:
        with unpacked(archive, scratch) as (prefix, python, digest):
            told = _started(python)
            complaint = _complaint(told, prefix, originals)
    except EnvironmentProblem as problem:
        raise TritonPythonError(f"{DELETED}: {problem}") from problem
    if complaint:
        raise TritonPythonError(f"{DELETED}: {complaint}")
    libraries = {Path(path).name for path in told["mapped"] if ".so" in Path(path).name}
    return Verified(digest, sorted(name for name in libraries if not _OF_LIBC.match(name)))


def _started(python: Path) -> dict[str, Any]:
    try:
        result = subprocess.run(
            [python, "-I", "-B", SCRIPT],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={},
            cwd="/",
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TritonPythonError(f"{DELETED}: its Python does not end within {LIMIT_S} s") from error
    answers = [line[len(MARK) :] for line in result.stdout.splitlines() if line.startswith(MARK)]
    if answers:
        told: dict[str, Any] = json.loads(answers[-1])
        return told
    said = (result.stderr.strip().splitlines() or ["it said nothing"])[-1]
    raise TritonPythonError(f"{DELETED}: its Python ended with status {result.returncode}: {said}")


def _complaint(told: dict[str, Any], prefix: Path, originals: list[Path]) -> str:
    real = os.path.realpath(prefix)
    for name in ("prefix", "base_prefix"):
        if os.path.realpath(str(told[name])) != real:
            return f"its sys.{name} is {told[name]}, and not where it was unpacked"
    if told["failed"]:
        return "; ".join(told["failed"])
    if told["runtime"] != (ours := version(DISTRIBUTION)):
        return (
            f"its compiled module is of version {told['runtime']}, and triton-python is {ours}: build it "
            "anew (triton-python stub build), and pack again"
        )
    if told["path"]:
        return f"it imports from outside itself: {', '.join(told['path'])}"
    if told["modules"]:
        return f"it imported what lies outside itself: {', '.join(told['modules'])}"
    borrowed = [path for path in told["mapped"] if any(folder in Path(path).parents for folder in originals)]
    if borrowed:
        return f"it uses what was to be left behind: {', '.join(borrowed)}"
    return ""
