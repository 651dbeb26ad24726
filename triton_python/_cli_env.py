"""`triton-python env`: packs environments, checks what a model would start with, shows the cache."""

# No `from __future__ import annotations`: typer reads the annotations of these functions.

import json
from typing import Annotated

import typer

from triton_python._progress import say

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
