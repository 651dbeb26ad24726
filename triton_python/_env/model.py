"""What there is to know about a model before it is loaded: its configuration, its file, what that imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from triton_python._config_text import string_parameters, top_level_fields
from triton_python._errors import TritonPythonError
from triton_python._models import (
    CONFIG,
    MODEL_FILE,
    WHAT_A_MODEL_IS,
    is_model,
    model_name,
    place_folder,
    versions_of,
)

ENVIRONMENT = "EXECUTION_ENV_PATH"
# These come from the server's side, whatever is installed.
_OURS = {"triton_python_backend_utils", "c_python_backend_utils"}
_IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


@dataclass(frozen=True)
class Model:
    """A model's folder, as Triton sees it."""

    name: str
    folder: Path
    environment: str
    """EXECUTION_ENV_PATH as it is configured; empty if it is not."""
    file: Path
    """The model.py of the latest version; it need not be there."""

    @property
    def config(self) -> dict[str, object]:
        """The part of the configuration that decides about the environment, as the server has it."""
        if not self.environment:
            return {}
        return {"parameters": {ENVIRONMENT: {"string_value": self.environment}}}


def find_model(place: str) -> Model:
    """The model at `place`, its folder or the path of its model.py.

    Raises:
        TritonPythonError: there is none, or it is not written in Python.
    """
    folder = place_folder(place)
    if not is_model(folder):
        raise TritonPythonError(f"there is no model in {folder}: {WHAT_A_MODEL_IS}")
    try:
        text = (folder / CONFIG).read_text(errors="replace")
    except OSError:
        text = ""
    fields = top_level_fields(text)
    backend = fields.get("backend", "python") or "python"
    if backend != "python" or "platform" in fields:
        raise TritonPythonError(
            f"the model {folder} is not written in Python: its backend is {fields.get('platform') or backend}"
        )
    versions = versions_of(folder)
    file = (versions[-1] if versions else folder) / (fields.get("default_model_filename") or MODEL_FILE)
    return Model(
        name=model_name(folder),
        folder=folder,
        environment=string_parameters(text).get(ENVIRONMENT, ""),
        file=file,
    )


def imports_of(file: Path) -> list[str]:
    """The modules that the file cannot be imported without, by the first part of their names.

    Raises:
        SyntaxError: it is no Python.
        OSError: it cannot be read.
    """
    tree = ast.parse(file.read_bytes(), str(file))
    return sorted(set(_needed(tree.body)) - _OURS)


def _needed(statements: list[ast.stmt]) -> Iterator[str]:
    """Of what runs when the file is imported; not of functions, nor of what may fail."""
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (alias.name.split(".")[0] for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.level == 0 and statement.module:
            yield statement.module.split(".")[0]
        elif isinstance(statement, ast.Try):
            if not any(_catches_import_errors(handler) for handler in statement.handlers):
                yield from _needed(statement.body)
            yield from _needed([*statement.orelse, *statement.finalbody])
        elif isinstance(statement, (ast.With, ast.ClassDef)):
            yield from _needed(statement.body)
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" not in ast.unparse(statement.test):
            # Which branch runs is not known: what only one of them imports may not be needed.
            yield from set(_needed(statement.body)) & set(_needed(statement.orelse))


def _catches_import_errors(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(isinstance(node, ast.Name) and node.id in _IMPORT_ERRORS for node in ast.walk(handler.type))
