"""The types of the fixtures that are functions."""

from __future__ import annotations

from typing import Any, Protocol

from serving.server import TritonServer


class StartServer(Protocol):
    """Starts a server of one's own, stopped after the test, with a repository in `server.start.repository`.

    Options are those of `serving.server.Start`.
    """

    def __call__(self, **options: Any) -> TritonServer: ...


class Load(Protocol):
    """Writes a model, loads it into the module's server and returns its name; unloaded after the test.

    Options are those of `serving.repository.write_model`.
    """

    def __call__(self, code: str, config: str = ..., **options: Any) -> str: ...


class Settle(Protocol):
    """Asks a model of `serving.calls.caller` for nothing, and returns what the server holds from then on.

    After the test it is to hold no more.
    """

    def __call__(self, model: str, child: str, **told: Any) -> tuple[int, int]: ...
