"""`triton-python doctor`: shows what the checks have found, to people or as JSON."""

# No `from __future__ import annotations`: typer reads the annotations of these functions.

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.text import Text

from triton_python._cli_options import (
    GrpcPortOption,
    HostOption,
    HttpPortOption,
    MetricsPortOption,
    PythonOption,
    ServerOption,
    chosen_ports,
)
from triton_python._doctor import CheckResult, Subject, examine, worst
from triton_python._marker import DISTRIBUTION
from triton_python._options import endpoints

PLACES_HELP = "Model repositories or models to look at, too."
DOCTOR_HELP = (
    "Look for what keeps models from being served on this machine, and say what to do about it.\n\n"
    "Looks only: nothing is fetched, written or changed. Ends with 1 if a check has failed, else with 0."
)
JSON_HELP = "Print JSON for scripts."
_STYLES = {"ok": "green", "warning": "yellow", "failed": "red"}


def doctor_command(
    places: Annotated[
        Optional[list[str]], typer.Argument(metavar="REPOSITORY", help=PLACES_HELP, show_default=False)
    ] = None,
    server: ServerOption = "",
    python: PythonOption = "",
    host: HostOption = "",
    http_port: HttpPortOption = None,
    grpc_port: GrpcPortOption = None,
    metrics_port: MetricsPortOption = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    ports = chosen_ports(http_port, grpc_port, metrics_port)
    options = [f"--{service}-port={port}" for service, port in ports.items()]
    if host:
        options += [f"--{service}-address={host}" for service in ("http", "grpc")]
    subject = Subject(places=places or (), server=server, python=python, endpoints=endpoints(options))
    report(examine(subject), as_json)


def report(results: Sequence[CheckResult], as_json: bool) -> None:
    """Shows what was found, and ends the command with the status that it deserves."""
    if as_json:
        typer.echo(_as_json(version(DISTRIBUTION), results))
    else:
        _show(results)
    raise typer.Exit(1 if _status(results) == "failed" else 0)


def _status(results: Sequence[CheckResult]) -> str:
    return worst(result.status for result in results)


def _as_json(of: str, results: Sequence[CheckResult]) -> str:
    content = {
        "version": of,
        "status": _status(results),
        "checks": [asdict(result) for result in results],
    }
    return json.dumps(content, indent=2)


def _show(results: Sequence[CheckResult]) -> None:
    # soft_wrap: long paths stay in one piece, for people who copy them.
    console = Console(soft_wrap=True, emoji=False, markup=False, highlight=False)
    width = max(len(result.name) for result in results)
    for result in results:
        line = Text(f"{result.status:8}", style=_STYLES[result.status])
        line.append(f"{result.name:{width}}  {result.found}", style="default")
        console.print(line)
        if result.advice:
            console.print(Text(f"{'':8}{'':{width}}  → {result.advice}", style="bold"))
