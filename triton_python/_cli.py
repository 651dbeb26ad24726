"""The command `triton-python`."""

# No `from __future__ import annotations`: typer reads the annotations of these functions.

import sys
from typing import Annotated

import typer

from triton_python._backend_dir import backend_directory
from triton_python._errors import TritonPythonError
from triton_python._progress import say
from triton_python._serve import serve
from triton_python._server import TritonServer, find_server, locate_server

HELP = "Serve Python models with Triton Inference Server."
SERVER_HELP = "The tritonserver program, or the folder that holds bin/tritonserver."
VERBOSE_HELP = "Also say, on stderr, how the server was found."
SERVE_HELP = """Start the Triton server on the model repository REPOSITORY with this Python backend.

Everything after REPOSITORY goes to the server unchanged, except --server PATH: the server to start."""
BACKEND_DIR_HELP = """Print a folder for tritonserver's --backend-directory.

It holds this Python backend and links every other backend of the server that is found on this machine."""
SERVER_PATH_HELP = "Print the tritonserver program that would be used; fetch it if there is none."

app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False)
server_app = typer.Typer(help="The Triton server itself.", no_args_is_help=True)
app.add_typer(server_app, name="server")

ServerOption = Annotated[str, typer.Option("--server", metavar="PATH", help=SERVER_HELP)]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help=VERBOSE_HELP)]


# Parsing stops at REPOSITORY, so that the server's own options, present and future, are never touched.
@app.command(
    "serve",
    help=SERVE_HELP,
    context_settings={
        "ignore_unknown_options": True,
        "allow_extra_args": True,
        "allow_interspersed_args": False,
    },
)
def serve_command(
    context: typer.Context,
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY", help="The folder of the models.")],
    server: ServerOption = "",
) -> None:
    options, late_server = take_server_option(context.args)
    raise typer.Exit(serve(repository, options, late_server or server))


def take_server_option(arguments: list[str]) -> tuple[list[str], str]:
    """Splits `--server PATH` or `--server=PATH` off the server's own options.

    >>> take_server_option(["--http-port", "1", "--server", "/opt/t", "--id=a"])
    (['--http-port', '1', '--id=a'], '/opt/t')
    """
    options: list[str] = []
    path = ""
    rest = iter(arguments)
    for argument in rest:
        if argument == "--server":
            path = next(rest, "")
            if not path:
                raise TritonPythonError("--server needs a path")
        elif argument.startswith("--server="):
            path = argument.partition("=")[2]
        else:
            options.append(argument)
    return options, path


@app.command("backend-dir", help=BACKEND_DIR_HELP)
def backend_dir_command(server: ServerOption = "", verbose: VerboseOption = False) -> None:
    found = locate_server(server)
    if verbose:
        _say_source(found)
    typer.echo(backend_directory(found))


@server_app.command("path", help=SERVER_PATH_HELP)
def server_path_command(server: ServerOption = "", verbose: VerboseOption = False) -> None:
    found = find_server(server)
    if verbose:
        _say_source(found)
    typer.echo(found.binary)


def _say_source(found: "TritonServer | None") -> None:
    if found is None:
        say("there is no server on this machine yet")
    else:
        say(f"the server is {found.binary}, found through {found.source}")


def _show_version(wanted: bool) -> None:
    if wanted:
        from triton_python import __version__

        typer.echo(f"triton-python {__version__}")
        raise typer.Exit


@app.callback()
def global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the command itself; the callbacks of each do the work."""


def main() -> None:
    """Entry point of the console script."""
    try:
        app(prog_name="triton-python")
    except TritonPythonError as error:
        say(str(error))
        sys.exit(1)
