"""The command `triton-python`: what its parts are called, and `serve`."""

# No `from __future__ import annotations`: typer reads the annotations of these functions.

import sys
from typing import Annotated, Optional

import typer

from triton_python._backend_dir import backend_directory
from triton_python._cli_doctor import DOCTOR_HELP, doctor_command
from triton_python._cli_env import env_app
from triton_python._cli_manage import INSTALL_HELP, install_command, server_app, uninstall_command
from triton_python._cli_options import (
    GrpcPortOption,
    HostOption,
    HttpPortOption,
    LocalOption,
    MetricsPortOption,
    PythonOption,
    ServerOption,
    VerboseOption,
    chosen_ports,
    say_source,
)
from triton_python._cli_stub import stub_app
from triton_python._errors import TritonPythonError
from triton_python._progress import say
from triton_python._serve import ServeSettings, serve
from triton_python._server import locate_server

HELP = "Serve Python models with Triton Inference Server."
SERVE_HELP = (
    "Start a Triton server with this Python backend on model repositories.\n\n"
    "A folder that is one model, or the path of its model.py, will do as well. Options that are not listed "
    "here go to the server unchanged, and so does everything after --, such as --log-verbose=1."
)
PLACES_HELP = "Folders of models, or models."
MODE_HELP = (
    "What the server loads: all models at the start (none), some on demand (explicit), what changes (poll)."
)
LOAD_HELP = "A model to load at the start, and no others but those; may be repeated."
BACKEND_CONFIG_HELP = "A setting of a backend; may be repeated."
BACKEND_DIR_HELP = (
    "Print a folder for tritonserver's --backend-directory.\n\n"
    "It holds this Python backend and links every other backend of the server that is found on this machine."
)

app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False)
app.add_typer(server_app, name="server")
app.add_typer(env_app, name="env")
app.add_typer(stub_app, name="stub")
app.command("install", help=INSTALL_HELP)(install_command)
app.command("uninstall")(uninstall_command)
app.command("doctor", help=DOCTOR_HELP)(doctor_command)


# Unknown options are not ours to judge: the server has many, and newer servers have more.
@app.command("serve", help=SERVE_HELP, context_settings={"ignore_unknown_options": True})
def serve_command(
    places: Annotated[list[str], typer.Argument(metavar="REPOSITORY", help=PLACES_HELP, show_default=False)],
    server: ServerOption = "",
    python: PythonOption = "",
    host: HostOption = "",
    local: LocalOption = False,
    http_port: HttpPortOption = None,
    grpc_port: GrpcPortOption = None,
    metrics_port: MetricsPortOption = None,
    control_mode: Annotated[
        str, typer.Option("--model-control-mode", metavar="MODE", help=MODE_HELP, show_default=False)
    ] = "",
    load_model: Annotated[
        Optional[list[str]], typer.Option("--load-model", metavar="NAME", help=LOAD_HELP)
    ] = None,
    backend_config: Annotated[
        Optional[list[str]],
        typer.Option("--backend-config", metavar="BACKEND,KEY=VALUE", help=BACKEND_CONFIG_HELP),
    ] = None,
    verbose: VerboseOption = False,
) -> None:
    first_option = next((index for index, word in enumerate(places) if word.startswith("-")), len(places))
    if first_option == 0:
        raise TritonPythonError(
            f"the model repository comes before the server's option {places[0]}: triton-python serve "
            "REPOSITORY [options of the server]"
        )
    if local and host:
        raise TritonPythonError("--local and --host both say where to listen: give one of them")
    settings = ServeSettings(
        places=places[:first_option],
        options=places[first_option:],
        server=server,
        python=python,
        host="127.0.0.1" if local else host,
        ports=chosen_ports(http_port, grpc_port, metrics_port),
        control_mode=control_mode,
        load_models=load_model or (),
        backend_config=backend_config or (),
        verbose=verbose,
    )
    raise typer.Exit(serve(settings))


@app.command("backend-dir", help=BACKEND_DIR_HELP)
def backend_dir_command(server: ServerOption = "", verbose: VerboseOption = False) -> None:
    found = locate_server(server)
    if verbose:
        say_source(found)
    typer.echo(backend_directory(found))


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
