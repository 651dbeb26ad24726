"""The commands about the compiled module that runs models: `stub build`."""

# No `from __future__ import annotations`: typer reads the annotations of these functions.

from typing import Annotated

import typer

from triton_python._stub_build import build_stub

STUB_HELP = "The compiled module that a Python needs to run models."
BUILD_HELP = (
    "Build the compiled module for a Python that has none, and print its path.\n\n"
    "It needs a C++ compiler and the headers of that Python; CMake, Ninja and pybind11 are fetched from the "
    "package index unless they are installed. Models find it from then on, in every environment with that "
    "version of Python."
)
PYTHON_HELP = "The Python to build for: a path, the folder of a virtual environment, or a command."
INTO_HELP = "The backend folder (such as /opt/tritonserver/backends/python) that is to hold it."

stub_app = typer.Typer(help=STUB_HELP, no_args_is_help=True)


@stub_app.callback()
def stub_options() -> None:
    """Keeps `build` a command of its own while it is the only one."""


@stub_app.command("build", help=BUILD_HELP)
def stub_build_command(
    python: Annotated[str, typer.Option("--python", metavar="PATH", help=PYTHON_HELP, show_default=False)],
    into: Annotated[str, typer.Option("--into", metavar="DIR", help=INTO_HELP, show_default=False)] = "",
) -> None:
    typer.echo(build_stub(python, into))
