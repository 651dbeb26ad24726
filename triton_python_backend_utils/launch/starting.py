"""From the configuration of a model to its process: resolves the environment, and becomes its Python."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

from .problem import EnvironmentProblem, reason_of
from .resolve import Resolved, Settings, resolve
from .server import Server, ServerGone
from .stub_main import complain, end_with_server

STUB_MAIN = Path(__file__).with_name("stub_main.py")
ARGUMENTS = "<socket fd> <model name> <server pid> <model folder> <cache folder> <cache bytes>"


def main(argv: list[str]) -> int:
    """Returns only if the model does not start; the server has been told why."""
    if len(argv) != 7:
        print(f"usage: {argv[0]} {ARGUMENTS}", file=sys.stderr)
        return 2
    fd, model, server_pid = int(argv[1]), argv[2], int(argv[3])
    end_with_server(model, server_pid)
    server = Server(fd)
    try:
        try:
            config = server.configuration()
            settings = Settings(
                cache_directory=Path(argv[5]) if argv[5] else None,
                cache_max_bytes=int(argv[6]) if argv[6] else None,
            )
            resolved = resolve(config, Path(argv[4]), settings, server)
            become(resolved, [argv[1], model, argv[3]])
        except EnvironmentProblem as problem:
            _fail(server, model, str(problem))
        except (ServerGone, KeyboardInterrupt):
            raise
        except Exception as error:  # what nobody foresaw still is an answer to whoever loads the model
            traceback.print_exc()
            _fail(server, model, f"the environment cannot be prepared: {error!r}")
    except ServerGone:
        pass  # nobody is left to be told
    return 1


def become(resolved: Resolved, arguments: list[str]) -> None:
    """Replace this process by the environment's Python with the model's main script.

    Raises:
        EnvironmentProblem: the system refuses that.
    """
    facts = {
        "environment": resolved.environment,
        "prefix": str(resolved.prefix),
        "keep_open": resolved.keep_open,
        "phases": resolved.phases,
        "core_directories": [str(folder) for folder in resolved.core_directories],
    }
    command = [str(resolved.python), "-B", str(STUB_MAIN), *arguments, json.dumps(facts)]
    for fd in [int(arguments[0]), *resolved.keep_open]:
        os.set_inheritable(fd, True)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python, and by all that comes after
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(resolved.python, command, resolved.environ)
    except OSError as error:
        raise EnvironmentProblem(
            f"{resolved.python} cannot be started with the variables of its environment: {reason_of(error)}. "
            "Run it by hand, as the user of the server"
        ) from error


def _fail(server: Server, model: str, text: str) -> None:
    complain(model, text)
    server.fail(text)
