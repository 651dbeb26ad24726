"""A model that runs what it is told, so that a test can say step by step what a model does."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

from serving.calls import CALLER_CONFIG, ask, caller
from serving.client import Client

SCRIPTED_CONFIG = CALLER_CONFIG

_ONE = """
exec(script, self.names)
return self.names.pop("answer", None)
"""

_MORE = """
def initialize(self, args):
    self.names = {"pb_utils": pb_utils, "model": self, "args": args, "failure": self.failure}

@staticmethod
def failure(function, *arguments, **named):
    try:
        function(*arguments, **named)
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["none", ""]
"""

SCRIPTED = caller(_ONE.replace("script,", 'told["script"],'), _MORE)
"""Names that a script sets stay for the next; what it calls `answer` is answered.

A script finds `pb_utils`, `model`, `args` and `failure(function, ...)`, type and text of what that raises.
"""


def do(client: Client, model: str, script: str) -> Any:
    return ask(client, model, script=dedent(script))
