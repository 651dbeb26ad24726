"""Reads the few fields of a `config.pbtxt` that matter before a server reads all of it."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{}\[\]<>:,;]|[^\s{}\[\]<>:,;#"']+""")

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}


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


def string_parameters(text: str) -> dict[str, str]:
    """The field `parameters`: the `string_value` of each key, however it is punctuated.

    >>> string_parameters('parameters [ { key: "A" value: { string_value: "1" "2" } } ] input { key: "B" }')
    {'A': '12'}
    """
    tokens = [token for token in _TOKEN.findall(text) if not token.startswith("#")]
    found: dict[str, str] = {}
    inside: list[str] = []  # the names of the messages around a token
    name, key, value, index = "", "", "", 0
    while index < len(tokens):
        token = tokens[index]
        if token in "{<":
            inside.append(name)
        elif token in "}>" and inside:
            name = inside.pop()
            if not inside and name == "parameters":
                found[key] = value
                key = value = ""
        elif token[0] in "\"'" and tokens[index - 1] == ":":
            content, index = _string(tokens, index)
            if (inside, name) == (["parameters"], "key"):
                key = content
            elif (inside, name) == (["parameters", "value"], "string_value"):
                value = content
            continue
        elif token not in "[]:,;":
            name = token
        index += 1
    return found


def _string(tokens: list[str], index: int) -> tuple[str, int]:
    """The strings from `index` on, which are one, without quotes and escapes; and the index behind them."""
    pieces = []
    while index < len(tokens) and tokens[index][0] in "\"'":
        pieces.append(_ESCAPE.sub(_unescaped, tokens[index][1:-1]))
        index += 1
    return "".join(pieces), index


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPED.get(match[1], match[1])
