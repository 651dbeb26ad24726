"""Check of the ports that the server would listen on."""

from __future__ import annotations

from triton_python._doctor.result import Finding, failed, ok, warning
from triton_python._doctor.running import serves_already
from triton_python._doctor.subject import Subject
from triton_python._ports import port_problem


def ports(subject: Subject) -> Finding:
    """Whether all of them are free, or a server of ours has them."""
    problems = [problem for problem in map(port_problem, subject.endpoints) if problem]
    if problems:
        # Each is a sentence with its own advice behind the colon.
        found, advice = zip(*(problem.split(": ", 1) for problem in problems))
        if any(one.service == "metrics" and serves_already(one) for one in subject.endpoints):
            return warning(
                f"a server with this backend runs here: {'; '.join(found)}",
                "another one needs other ports: " + "; ".join(dict.fromkeys(advice)),
            )
        return failed("; ".join(found), "; ".join(dict.fromkeys(advice)))
    return ok(
        "free: " + ", ".join(f"{one.address}:{one.port} for {one.service}" for one in subject.endpoints)
    )
