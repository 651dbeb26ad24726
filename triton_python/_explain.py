"""Turns the lines in which a server says why it gives up into sentences that say what to do."""

from __future__ import annotations

import re

from triton_python._ports import taken

_PORT_OPTIONS = {"HTTP": "--http-port", "GRPC": "--grpc-port", "Metrics": "--metrics-port"}
_MODEL_FAILURES = (
    r"Poll failed for model directory '(?P<model>[^']+)': (?P<reason>.*)",
    r"failed to load model '(?P<model>[^']+)': (?P<reason>.*)",
    r"failed to load '(?P<model>[^']+)' version \d+: (?P<reason>.*)",
)
_NO_CONFIG = "model configuration is not provided for model"
_MODELS_SHOWN = 5


class Explanation:
    """What the log has said so far about an end of the server."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._failures: dict[str, str] = {}
        self._models_failed = False

    @property
    def reason(self) -> str | None:
        """Why the server ends if it ends now, and what to do; None when the log does not tell."""
        return self._models_sentence() if self._models_failed else self._reason

    @property
    def failures(self) -> dict[str, str]:
        """The models that could not be loaded, and why."""
        return dict(self._failures)

    def take(self, line: str) -> None:
        """Learns from the next line of the log."""
        for pattern in _MODEL_FAILURES:
            failure = re.search(pattern, line)
            if failure:
                self._failures[failure["model"]] = _first_line(failure["reason"])
        if re.search(r"creating server: .*failed to load all models", line):
            self._models_failed = True
        for pattern, sentence in _RULES:
            found = re.search(pattern, line)
            if found:
                self._reason = sentence(found)

    def _models_sentence(self) -> str:
        told = [f"{model!r}: {reason}" for model, reason in list(self._failures.items())[:_MODELS_SHOWN]]
        if len(self._failures) > _MODELS_SHOWN:
            told.append(f"and {len(self._failures) - _MODELS_SHOWN} more")
        which = f" ({'; '.join(told)})" if told else ""
        return (
            f"not every model could be loaded{which}: the log above says more, `triton-python doctor` checks "
            "the layout of folders, and with --exit-on-error=false the server serves the others"
        )


def _first_line(reason: str) -> str:
    # Recent servers put their text in quotes and escape what is in it; older ones do neither.
    line = re.split(r"\\n|\n", reason.removesuffix('"').strip())[0].replace('\\"', '"').strip()
    if _NO_CONFIG in line:
        line += " (write its config.pbtxt, or auto_complete_config in its model.py)"
    return line


def _port_in_use(found: re.Match[str]) -> str:
    return taken(found["address"], _PORT_OPTIONS.get(found["service"], "its port option"))


def _unknown_option(found: re.Match[str]) -> str:
    return (
        f"the server does not know the option {found[1]}: `triton-python serve REPOSITORY -- --help` lists "
        "those it knows"
    )


def _library_missing(found: re.Match[str]) -> str:
    return (
        f"the server cannot run on this machine: {found[1]}; `triton-python doctor` looks for what is missing"
    )


_RULES = (
    (r"failed to start (?P<service>\S+) service: .*Socket '(?P<address>[^']+)' already in use", _port_in_use),
    (r"(?:unrecognized|unknown) option '([^']+)'", _unknown_option),
    (r"((?:error while loading shared libraries: |.*version `GLIBC).*)", _library_missing),
    (r"^(cannot start .*)", _library_missing),
)
