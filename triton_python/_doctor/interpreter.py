"""Checks of the Python that models are going to run in: itself, our compiled module in it, its numpy."""

from __future__ import annotations

import re
import sys

from triton_python._doctor.backend import REINSTALL
from triton_python._doctor.result import Finding, failed, ok, warning
from triton_python._doctor.subject import Choice, Probe, Subject
from triton_python._errors import TritonPythonError

OLDEST_PYTHON = (3, 9)
OLDEST_NUMPY = (1, 19)
OTHER_PYTHON = (
    "choose another Python, 3.9 or newer, with --python PATH, or, for a server run by hand, with "
    "--backend-config=python,python-executable=PATH"
)


def interpreter(subject: Subject) -> Finding:
    """Which Python models run in, and why."""
    try:
        choice = subject.choice
    except TritonPythonError as error:
        return failed(str(error), OTHER_PYTHON)
    probe = choice.probe
    if probe is None:
        return failed(f"{choice.path} ({choice.reason}) cannot run models: {choice.problem}", OTHER_PYTHON)
    which = f"models run in {choice.path} (Python {_dotted(probe.version)}): {choice.reason}"
    if probe.version < OLDEST_PYTHON:
        return failed(which, OTHER_PYTHON)
    notes = [choice.passed_over] if choice.passed_over else []
    if not subject.python and not subject.same_environment(probe):
        notes.append(f"`triton-python serve` without --python runs them in {sys.executable}")
    return ok("; ".join([which, *notes]))


def compiled_module(subject: Subject) -> Finding:
    """Our compiled module: there for that Python, loadable, and of this version."""
    asked = _asked(subject)
    if isinstance(asked, Finding):
        return asked
    choice, probe = asked
    where = subject.installation.package
    if probe.core_error:
        again = (
            f"install triton-python-backend into that Python ({choice.path} -m pip install, from a checkout "
            f"or a wheel) and run triton-python from there, or {OTHER_PYTHON}"
        )
        found = f"{choice.path} cannot load _core from {where}: {probe.core_error}"
        return failed(found, REINSTALL if subject.same_environment(probe) else again)
    if probe.core != subject.version:
        found = f"_core in {where} is of version {probe.core}, triton-python is {subject.version}"
        return failed(found, REINSTALL)
    return ok(f"_core {probe.core} for Python {_dotted(probe.version[:2])} in {where}")


def numpy(subject: Subject) -> Finding:
    """numpy: there, new enough, and good for tensors."""
    asked = _asked(subject)
    if isinstance(asked, Finding):
        return asked
    choice, probe = asked
    install = f"install it: {choice.path} -m pip install 'numpy>={_dotted(OLDEST_NUMPY)}'"
    if probe.numpy_error:
        again = install.replace("pip install", "pip install --force-reinstall")
        is_there = "No module named 'numpy'" not in probe.numpy_error
        return failed(
            f"{choice.path} cannot import numpy: {probe.numpy_error}", again if is_there else install
        )
    if tuple(int(part) for part in re.findall(r"\d+", probe.numpy)[:2]) < OLDEST_NUMPY:
        return failed(f"numpy {probe.numpy} is too old", install)
    if probe.tensor_error:
        return failed(f"numpy {probe.numpy} cannot be used for tensors: {probe.tensor_error}", install)
    return ok(f"numpy {probe.numpy}")


def _asked(subject: Subject) -> tuple[Choice, Probe] | Finding:
    try:
        choice = subject.choice
    except TritonPythonError:
        return warning("not looked at: there is no Python to look into", "see the check `interpreter`")
    if choice.probe is None:
        return warning(f"not looked at: {choice.path} does not answer", "see the check `interpreter`")
    return choice, choice.probe


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in numbers)
