"""Check of a server that runs already: which instances of models have a process that serves."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from collections.abc import Iterator

from triton_python._doctor.result import Finding, failed, ok
from triton_python._doctor.subject import Subject
from triton_python._options import EVERY_ADDRESS, Endpoint

UP = "triton_python_instance_up"
DEATHS = "triton_python_deaths_total"
BUILD = "triton_python_build_info"
ANSWER_SECONDS = 5.0
LOOK = (
    "the server's log has its last words, and the stacks if it crashed; docs/lifecycle.md says when the next "
    "process is started"
)
# https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
_LINE = re.compile(r"^(?P<name>\w+)\{(?P<labels>.*)\} (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Sample = tuple[str, dict[str, str], float]


def instances(subject: Subject) -> Finding:
    """Whether each instance of a model of ours has a process."""
    endpoint = next((one for one in subject.endpoints if one.service == "metrics"), None)
    samples = [] if endpoint is None else metrics_of(endpoint)
    if not any(name == BUILD for name, _, _ in samples):
        return ok("no server with this backend shows metrics here")
    up = {labels["instance"]: value > 0 for name, labels, value in samples if name == UP}
    down = sorted(instance for instance, serves in up.items() if not serves)
    if not down:
        return ok(f"{len(up)} of {len(up)} instances of models have a process that serves")
    deaths: dict[str, Counter[str]] = {instance: Counter() for instance in down}
    for name, labels, value in samples:
        if name == DEATHS and labels["instance"] in deaths:
            deaths[labels["instance"]][labels["cause"]] += int(value)
    told = "; ".join(f"'{instance}'{_causes(deaths[instance])}" for instance in down)
    return failed(f"{len(down)} of {len(up)} instances have no process that serves: {told}", LOOK)


def serves_already(endpoint: Endpoint) -> bool:
    """Whether a server with this backend shows its metrics there."""
    return any(name == BUILD for name, _, _ in metrics_of(endpoint))


def metrics_of(endpoint: Endpoint) -> list[Sample]:
    """What the metrics page there says; nothing when there is none."""
    host = "127.0.0.1" if endpoint.address == EVERY_ADDRESS else endpoint.address
    where = f"[{host}]" if ":" in host else host
    try:
        with urllib.request.urlopen(
            f"http://{where}:{endpoint.port}/metrics", timeout=ANSWER_SECONDS
        ) as answer:
            text = answer.read().decode(errors="replace")
    except (OSError, ValueError):
        return []
    return list(_samples(text))


def _samples(text: str) -> Iterator[Sample]:
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            labels = {name: re.sub(r"\\(.)", r"\1", value) for name, value in _LABEL.findall(match["labels"])}
            yield match["name"], labels, float(match["value"])


def _causes(deaths: Counter[str]) -> str:
    if not deaths:
        return ""
    return f" (died of {', '.join(f'{cause} {count} times' for cause, count in deaths.most_common())})"
