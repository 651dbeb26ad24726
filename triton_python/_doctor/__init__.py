"""`triton-python doctor`: what keeps models from being served on this machine, and what to do about it.

Every check looks and changes nothing, and knows nothing of the others; `CHECKS` is the list of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from triton_python._doctor import backend, interpreter, limits, models, ports, running, server
from triton_python._doctor.result import CheckResult, Finding, Status, failed, worst
from triton_python._doctor.subject import Subject

__all__ = ["CHECKS", "Check", "CheckResult", "Status", "Subject", "examine", "worst"]


@dataclass(frozen=True)
class Check:
    """One thing to look at, under the name that people and scripts know it by."""

    name: str
    look: Callable[[Subject], Finding]
    needs_models: bool = False

    def run(self, subject: Subject) -> CheckResult:
        try:
            finding = self.look(subject)
        except Exception as error:  # a check that breaks is a finding, too, and no reason to skip the others
            finding = failed(f"this check itself failed: {error!r}", "please report it")
        return CheckResult(self.name, finding.status, finding.found, finding.advice)


CHECKS: Sequence[Check] = (
    Check("interpreter", interpreter.interpreter),
    Check("compiled-module", interpreter.compiled_module),
    Check("numpy", interpreter.numpy),
    Check("server", server.server),
    Check("server-start", server.server_start),
    Check("glibc", server.glibc),
    Check("backend", backend.backend),
    Check("server-backend", backend.server_backend),
    Check("memory", limits.memory),
    Check("memfd", limits.memfd),
    Check("descriptors", limits.descriptors),
    Check("instances", running.instances),
    Check("ports", ports.ports),
    Check("models", models.models, needs_models=True),
)


def examine(subject: Subject) -> list[CheckResult]:
    """Runs all checks; that of models only where some were given."""
    return [check.run(subject) for check in CHECKS if subject.places or not check.needs_models]
