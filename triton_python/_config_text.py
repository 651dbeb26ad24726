"""Reads the few fields of a `config.pbtxt` that matter before a server reads all of it."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{}\[\]<>:,;]|[^\s{}\[\]<>:,;#"']+""")


def top_level_fields(text: str) -> dict[str, str]:
    """The scalar fields that are not inside another one, strings without their quotes.

    >>> top_level_fields('name: "m" input [ { name: "IN" } ]  # backend: "x"')
    {'name': 'm'}
    """
    tokens = [token for token in _TOKEN.findall(text) if not token.startswith("#")]
    fields: dict[str, str] = {}
    depth = 0
    for index, token in enumerate(tokens):
        if token in "{[<":
            depth += 1
        elif token in "}]>":
            depth -= 1
        elif token == ":" and depth == 0 and 0 < index < len(tokens) - 1 and tokens[index + 1] not in "{[<":
            fields[tokens[index - 1]] = tokens[index + 1].strip("\"'")
    return fields
