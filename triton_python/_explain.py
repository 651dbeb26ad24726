"""Turns the lines in which a server says why it gives up into sentences that say what to do."""

from __future__ import annotations

import re

PORT_OPTIONS = {"HTTP": "--http-port", "GRPC": "--grpc-port", "Metrics": "--metrics-port"}


def explain(line: str) -> str | None:
    """Why the server ends if it ends after this line, or None when the line says nothing about that."""
    for pattern, sentence in _RULES:
        found = re.search(pattern, line)
        if found:
            return sentence(found)
    return None


def _port_in_use(found: re.Match[str]) -> str:
    option = PORT_OPTIONS.get(found["service"], "its port option")
    return (
        f"the address {found['address']} is already in use: stop the program that listens there, or choose "
        f"another port with {option}"
    )


def _unknown_option(found: re.Match[str]) -> str:
    return (
        f"the server does not know the option {found[1]}: `triton-python serve REPOSITORY --help` lists "
        "those it knows"
    )


def _not_loaded(found: re.Match[str]) -> str:
    return (
        "not every model could be loaded: the table in the log above gives the reason for each; "
        "with --exit-on-error=false the server serves the others"
    )


def _library_missing(found: re.Match[str]) -> str:
    return f"the server cannot run on this machine: {found[1]}"


_RULES = (
    (r"failed to start (?P<service>\S+) service: .*Socket '(?P<address>[^']+)' already in use", _port_in_use),
    (r"(?:unrecognized|unknown) option '([^']+)'", _unknown_option),
    (r"creating server: .*failed to load all models", _not_loaded),
    (r"((?:error while loading shared libraries: |.*version `GLIBC).*)", _library_missing),
    (r"^(cannot start .*)", _library_missing),
)
