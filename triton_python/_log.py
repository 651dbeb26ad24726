"""Copies a server's log to stderr as it comes, and tells from it when the server is ready or gives up."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterable

from triton_python._explain import Explanation
from triton_python._options import Endpoint
from triton_python._ports import accepts
from triton_python._progress import say

_STARTED = re.compile(
    r"Started (?P<service>GRPCInferenceService|HTTPService|Metrics Service) at (?P<address>[^\s\"]+)"
)
_SERVICES = {"HTTPService": "HTTP", "GRPCInferenceService": "gRPC", "Metrics Service": "metrics"}
_TABLE_HEAD = re.compile(r"\| Model\s+\| Version\s+\| Status\s+\|")
_TABLE_ROW = re.compile(r"\| (?P<model>\S.*?)\s*\| (?P<version>\S+)\s*\| (?P<status>.*?)\s*\|$")
_NAMES_SHOWN = 8
_EVERY_ADDRESS = ("0.0.0.0", "[::]", "::")
_BETWEEN_LOOKS_SECONDS = 0.02


class Readiness:
    """Follows a server from its log to the moment when everything it was told to open is open."""

    def __init__(self, expected: Iterable[Endpoint]) -> None:
        self._waited_for = {endpoint.service for endpoint in expected}
        self._addresses: dict[str, str] = {}
        self._models: list[str] = []
        self._in_table = False

    def take(self, line: str) -> bool:
        """Learns from the next line of the log; whether that line has made the server ready."""
        self._read_table(line)
        started = _STARTED.search(line)
        if started is None:
            return False
        service = _SERVICES[started["service"]]
        was_ready = self._waited_for <= set(self._addresses)
        self._addresses[service] = started["address"]
        return not was_ready and self._waited_for <= set(self._addresses)

    @property
    def addresses(self) -> list[str]:
        """Where it says that it listens, as `HOST:PORT`."""
        return [self._addresses[service] for service in self._order()]

    def announcement(self, failures: Iterable[str]) -> list[str]:
        """What is served where, one line each."""
        lines = [f"ready: {self._served()}", *(f"  not loaded: {name}" for name in failures)]
        return lines + [
            f"  {service:8}{_url(service, self._addresses[service])}" for service in self._order()
        ]

    def _order(self) -> list[str]:
        return [service for service in _SERVICES.values() if service in self._addresses]

    def _served(self) -> str:
        names = list(dict.fromkeys(self._models))
        if not names:
            return "no model is loaded yet"
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        count = f"{len(names)} models" if len(names) > 1 else "1 model"
        return f"{count}: {', '.join(names[:_NAMES_SHOWN])}{more}"

    def _read_table(self, line: str) -> None:
        if _TABLE_HEAD.match(line):
            self._in_table = True
        elif not line.startswith(("|", "+")):
            self._in_table = False
        elif self._in_table:
            row = _TABLE_ROW.match(line)
            if row and row["status"] == "READY":
                self._models.append(row["model"])


class LogCopy:
    """Copies on a thread of its own, which owns the descriptor and closes it at the end of the log.

    A model's process that outlives the server would hold the log open, so nobody waits for that end without
    a limit.
    """

    def __init__(self, source: int, expected: Iterable[Endpoint]) -> None:
        self._explanation = Explanation()
        self._readiness = Readiness(expected)
        self._source = source
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._copy, name="server log", daemon=True)
        self._thread.start()

    @property
    def reason(self) -> str | None:
        """Why the server ended, in a sentence, if it can be told; to be read after `wait`."""
        return self._explanation.reason

    def wait(self, seconds: float) -> None:
        """Waits until the log has ended."""
        self._thread.join(seconds)

    def _copy(self) -> None:
        with os.fdopen(self._source, "rb") as source:
            for raw in source:
                sys.stderr.buffer.write(raw)
                sys.stderr.buffer.flush()
                line = raw.decode(errors="replace").rstrip("\n")
                self._explanation.take(line)
                if self._readiness.take(line):
                    failures = self._explanation.failures.items()
                    told = self._readiness.announcement(f"{name}: {why}" for name, why in failures)
                    threading.Thread(target=self._announce, args=[told], daemon=True).start()
        self._ended.set()

    def _announce(self, lines: Iterable[str]) -> None:
        """Says them when what the server "started" takes connections: it writes that before it listens."""
        while not all(accepts(address) for address in self._readiness.addresses):
            if self._ended.wait(_BETWEEN_LOOKS_SECONDS):
                return
        for line in lines:
            say(line)


def _url(service: str, address: str) -> str:
    host, _, port = address.rpartition(":")
    everywhere = host in _EVERY_ADDRESS
    place = f"{'localhost' if everywhere else host}:{port}"
    url = {"HTTP": f"http://{place}", "gRPC": place, "metrics": f"http://{place}/metrics"}[service]
    return f"{url} (on every address of this machine)" if everywhere else url
