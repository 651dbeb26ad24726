"""`triton-python env`: packs environments, checks what a model would start with, shows the cache."""

# No `from __future__ import annotations`: typer reads the annotations of these functions.

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from triton_python._cli_doctor import JSON_HELP, report
from triton_python._progress import say

if TYPE_CHECKING:
    from triton_python._env.cache import Entry

ENV_HELP = "Python environments for models: pack one, check a model's, look after the unpacked ones."
PACK_HELP = (
    "Pack a Python environment into one archive that models can run in on other machines.\n\n"
    "A virtual environment is packed with the Python beneath it, a conda environment by conda-pack. The "
    "archive is unpacked once to try it; what does not work anywhere is not left behind."
)
PREFIX_HELP = "Its folder, or its python program; the environment that runs this command without it."
OUTPUT_HELP = "The archive: .tar.gz, .tar.zst, .tar.xz, .tar or .zip; PREFIX.tar.gz here without it."
FORCE_HELP = "Replace the archive if it is there."
FAST_HELP = "Compress little: a larger archive, written in less time."
NO_BYTECODE_HELP = "Leave compiled modules out: a smaller archive, and models that take longer to start."
IGNORE_EDITABLE_HELP = "Leave out editable installs and .pth files that lead out of the environment."
IGNORE_MISSING_HELP = "For conda: do not mind files that are missing or were overwritten, as by pip."
CHECK_HELP = (
    "Resolve a model's environment as a server would, start its Python, and say what is there and what is "
    "missing.\n\nAn archive is unpacked into the cache. Ends with 1 if a check has failed, else with 0."
)
MODEL_HELP = "The folder of a model, or the path of its model.py."
PYTHON_HELP = "The Python of models that ask for no environment: a path, a folder, or a command."
CACHE_HELP = (
    "The folder of unpacked environments, as in environment-cache-directory; the default one without it."
)
PRUNE_HELP = (
    "Delete unpacked environments, the least recently used first. Those that models use stay.\n\n"
    "What is deleted is unpacked again when a model needs it."
)
MAX_SIZE_HELP = "Until what stays is at most so large: 500M, 10G."
ALL_HELP = "All of them."
YES_HELP = "Do not ask."

CacheOption = Annotated[str, typer.Option("--cache", metavar="DIR", help=CACHE_HELP, show_default=False)]

env_app = typer.Typer(help=ENV_HELP, no_args_is_help=True)


@env_app.command("pack", help=PACK_HELP)
def pack_command(
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help=PREFIX_HELP, show_default=False)] = "",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help=OUTPUT_HELP, show_default=False)
    ] = "",
    force: Annotated[bool, typer.Option("--force", "-f", help=FORCE_HELP)] = False,
    fast: Annotated[bool, typer.Option("--fast", help=FAST_HELP)] = False,
    no_bytecode: Annotated[bool, typer.Option("--no-bytecode", help=NO_BYTECODE_HELP)] = False,
    ignore_editable: Annotated[bool, typer.Option("--ignore-editable", help=IGNORE_EDITABLE_HELP)] = False,
    ignore_missing: Annotated[bool, typer.Option("--ignore-missing-files", help=IGNORE_MISSING_HELP)] = False,
) -> None:
    from triton_python._env.pack import PackSettings, pack

    packed = pack(
        PackSettings(
            place=prefix,
            output=output,
            force=force,
            fast=fast,
            bytecode=not no_bytecode,
            ignore_editable=ignore_editable,
            ignore_missing=ignore_missing,
        )
    )
    environment = packed.environment
    for note in packed.notes:
        say(note)
    say(
        f"{packed.archive}: Python {environment.dotted_version}, numpy {environment.numpy}, "
        f"{packed.files} files, {packed.size / 1e6:.1f} MB, sha256 {packed.digest}"
    )
    if packed.libraries:
        say(f"the machine that serves has to have {', '.join(packed.libraries)}")
    say(
        f"packed on {environment.machine} with {environment.libc}; put these lines into the config.pbtxt. An "
        "archive in the model's folder is $$TRITON_MODEL_DIRECTORY/" + packed.archive.name
    )
    typer.echo(config_lines(str(packed.archive)))


@env_app.command("check", help=CHECK_HELP)
def check_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP, show_default=False)],
    python: Annotated[
        str, typer.Option("--python", metavar="PATH", help=PYTHON_HELP, show_default=False)
    ] = "",
    cache: CacheOption = "",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    from triton_python._env.check import CheckSettings, check_model

    report(check_model(CheckSettings(model, python, cache)), as_json)


@env_app.command("list")
def list_command(cache: CacheOption = "") -> None:
    """Show the environments that were unpacked on this machine, the least recently used first."""
    from triton_python._env.cache import cache_at

    found = cache_at(cache)
    entries = found.entries() if found is not None else []
    if not entries:
        say(f"no environment is unpacked {f'in {cache}' if cache else 'on this machine'}")
        return
    assert found is not None
    console = Console(soft_wrap=True, emoji=False, markup=False, highlight=False)
    if console.is_terminal:
        console.print(_table(entries))
    else:
        for entry in entries:
            typer.echo("\t".join(_row(entry)))
    total = sum(entry.bytes for entry in entries)
    say(f"{len(entries)} in {found.directory}, {total / 1e6:.1f} MB")


@env_app.command("prune", help=PRUNE_HELP)
def prune_command(
    max_size: Annotated[
        str, typer.Option("--max-size", metavar="SIZE", help=MAX_SIZE_HELP, show_default=False)
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help=ALL_HELP)] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help=YES_HELP)] = False,
    cache: CacheOption = "",
) -> None:
    from triton_python._env.cache import cache_at, prune

    if bool(max_size) == everything:
        raise typer.BadParameter("say either --max-size SIZE or --all")
    limit = None if everything else parse_size(max_size)
    found = cache_at(cache)
    if found is None or not found.entries():
        say(f"no environment is unpacked {f'in {cache}' if cache else 'on this machine'}")
        return
    if not yes:
        what = "all environments" if limit is None else f"environments beyond {max_size}"
        typer.confirm(f"Delete {what} in {found.directory} that no model uses?", abort=True, err=True)
    pruned = prune(found, limit)
    for entry in pruned.removed:
        say(f"removed {entry.digest}, {entry.bytes / 1e6:.1f} MB, of {entry.archive}")
    for entry in pruned.left:
        if entry.in_use:
            say(f"left {entry.digest}, {entry.bytes / 1e6:.1f} MB, of {entry.archive}: it is in use")
    say(
        f"{pruned.freed_bytes / 1e6:.1f} MB are free again; "
        f"{sum(entry.bytes for entry in pruned.left) / 1e6:.1f} MB stay in {found.directory}"
    )


def parse_size(text: str) -> int:
    """A number of bytes as people write it: 500M, 10G, 1.5T, 2000000.

    Raises:
        typer.BadParameter: it is none.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]?)(?:i?B)?", text.strip())
    size = int(float(match[1]) * 1024 ** " KMGT".index((match[2] or " ").upper())) if match else 0
    if size < 1:
        raise typer.BadParameter(f"{text!r} is no size: write it like 500M or 10G; --all removes everything")
    return size


def _row(entry: "Entry") -> list[str]:
    from triton_python._env.cache import used

    state = "in use" if entry.in_use else "-"
    return [
        entry.digest,
        f"{entry.bytes / 1e6:.1f} MB",
        str(entry.files),
        used(entry),
        state,
        str(entry.archive),
    ]


def _table(entries: "Sequence[Entry]") -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("digest", "size", "files", "last used", "", "archive"):
        table.add_column(
            name, justify="right" if name in ("size", "files") else "left", no_wrap=name != "archive"
        )
    for entry in entries:
        table.add_row(*_row(entry))
    return table


def config_lines(path: str) -> str:
    """What names the environment in a config.pbtxt.

    >>> print(config_lines("/envs/a.tar.gz"))
    parameters: {
      key: "EXECUTION_ENV_PATH"
      value: { string_value: "/envs/a.tar.gz" }
    }
    """
    quoted = json.dumps(path, ensure_ascii=False)
    return f'parameters: {{\n  key: "EXECUTION_ENV_PATH"\n  value: {{ string_value: {quoted} }}\n}}'
