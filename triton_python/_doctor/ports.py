"""Check of the ports that the server would listen on."""

from __future__ import annotations

from triton_python._doctor.result import Finding, failed, ok
from triton_python._doctor.subject import Subject
from triton_python._ports import port_problem


def ports(subject: Subject) -> Finding:
    """Whether all of them are free."""
    problems = [problem for problem in map(port_problem, subject.endpoints) if problem]
    if problems:
        # Each is a sentence with its own advice behind the colon.
        found, advice = zip(*(problem.split(": ", 1) for problem in problems))
        return failed("; ".join(found), "; ".join(dict.fromkeys(advice)))
    return ok(
        "free: " + ", ".join(f"{one.address}:{one.port} for {one.service}" for one in subject.endpoints)
    )
