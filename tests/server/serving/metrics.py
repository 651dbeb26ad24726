"""What the server's metrics page says."""

from __future__ import annotations

import re
import urllib.request

from serving.server import TritonServer

LINE = re.compile(r"^(\w+)\{(.*)\} (\S+)$")

Labels = dict[str, str]


def metrics(server: TritonServer, name: str) -> list[tuple[Labels, float]]:
    """The lines of one metric: labels and value."""
    found = []
    for line in page(server).splitlines():
        match = LINE.match(line)
        if match and match[1] == name:
            labels = dict(label.replace('"', "").split("=") for label in match[2].split(","))
            found.append((labels, float(match[3])))
    return found


def page(server: TritonServer) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=60) as answer:
        return str(answer.read().decode())


def memory(server: TritonServer, model: str, what: str, arena: str | None = None) -> float:
    """A gauge of our own, of the only instance of a model."""
    (value,) = (
        value
        for labels, value in metrics(server, f"triton_python_{what}_bytes")
        if labels["model"] == model and labels.get("arena") == arena
    )
    return value
