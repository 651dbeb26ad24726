"""The commands that put things where they belong: `install`, `uninstall` and `server`."""

# No `from __future__ import annotations`: typer reads the annotations of these functions.

from typing import Annotated

import typer

from triton_python._cli_options import ServerOption, VerboseOption, say_source
from triton_python._download import PYTRITON, download_server, server_folder
from triton_python._install import InstalledBackend, install_backend, uninstall_backend
from triton_python._managed import remove_server
from triton_python._progress import say
from triton_python._server import CONTAINER_ROOT, find_server

PLACE_HELP = (
    "The server's folder (such as /opt/tritonserver), its folder `backends`, or the tritonserver program."
)
INSTALL_HELP = (
    "Put this Python backend into an existing server, in the place of the one that it has.\n\n"
    "The one that was there is kept beside it, as python.nvidia; uninstall puts it back. Run install again "
    "to bring the backend up to date."
)
START_ANEW = "servers that use it and are running have to be started anew"
YES_HELP = "Do not ask."

server_app = typer.Typer(help="The Triton server itself.", no_args_is_help=True)
PlaceArgument = Annotated[str, typer.Argument(metavar="DIR", help=PLACE_HELP, show_default=False)]


def install_command(place: PlaceArgument) -> None:
    done = install_backend(place)
    if done.replaced == done.version:
        say(f"{done.folder} is triton-python-backend {done.version}, installed again")
    elif done.replaced:
        say(f"{done.folder} was triton-python-backend {done.replaced} and is {done.version} now")
    else:
        say(f"{done.folder} is triton-python-backend {done.version} now")
    if done.kept:
        say(f"the backend that was there before is kept in {done.kept}")
    for name in done.carried:
        say(f"kept from the old one, not ours: {done.folder / name}")
    _say_how_to_use(done)
    typer.echo(done.folder)


def uninstall_command(place: PlaceArgument) -> None:
    """Take this Python backend out of a server, and put back the one that was there before."""
    done = uninstall_backend(place)
    if done.restored:
        say(f"{done.folder} is the backend again that was there before triton-python-backend {done.version}")
    else:
        say(f"removed {done.folder}; there was no python backend before it")
    if done.added:
        say(f"kept in {done.added}, not ours: {', '.join(done.added_files)}")
    say(START_ANEW)
    typer.echo(done.folder)


@server_app.command("path")
def server_path_command(server: ServerOption = "", verbose: VerboseOption = False) -> None:
    """Print the tritonserver program that would be used; fetch it if there is none."""
    found = find_server(server)
    if verbose:
        say_source(found)
    typer.echo(found.binary)


@server_app.command("install")
def server_install_command() -> None:
    """Fetch the managed server (about 55 MB) now, whether it would be used or not, and print its program."""
    was_there = server_folder(PYTRITON).exists()
    binary = download_server(PYTRITON)
    if was_there:
        say("the managed server is there already")
    typer.echo(binary)


@server_app.command("remove")
def server_remove_command(
    yes: Annotated[bool, typer.Option("--yes", "-y", help=YES_HELP)] = False,
) -> None:
    """Delete the managed server from the cache; `serve` fetches it again when it needs it."""
    folder = server_folder(PYTRITON)
    if not folder.exists():
        say(f"there is no managed server in {folder}")
        return
    if not yes:
        typer.confirm(f"Delete the Triton server in {folder}?", abort=True, err=True)
    removed = remove_server()
    if removed:
        say(f"removed {removed.folder}, {removed.freed_bytes / 1e6:.0f} MB are free again")


def _say_how_to_use(done: InstalledBackend) -> None:
    backends = done.folder.parent
    if backends != CONTAINER_ROOT / "backends":
        # The server looks there, and not beside itself, unless it is told to.
        say(f"start its server with --backend-directory={backends}")
    say(START_ANEW)
