"""The typed interface in `_core.pyi` and the compiled module have the same names."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest

import triton_python_backend_utils as pb_utils
from triton_python_backend_utils import _core

INTERFACE = ast.parse((Path(pb_utils.__file__).parent / "_core.pyi").read_text(encoding="utf-8"))
CLASSES = {
    node.name: node
    for node in INTERFACE.body
    if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
}
VALUES = {
    node.target.id
    for node in INTERFACE.body
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
}
ALIASES = {
    target.id: node.value.id
    for node in INTERFACE.body
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name)
    for target in node.targets
    if isinstance(target, ast.Name)
}


def public(names: object) -> set[str]:
    return {name for name in names if not name.startswith("_")}  # type: ignore[attr-defined]


def described_members(node: ast.ClassDef) -> set[str]:
    methods = [item.name for item in node.body if isinstance(item, (ast.FunctionDef, ast.ClassDef))]
    fields = [
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    ]
    return public(methods + fields)


def test_classes_are_the_same() -> None:
    compiled = {name for name, value in vars(_core).items() if isinstance(value, type)}

    assert public(compiled) == set(CLASSES) | set(ALIASES)


def test_functions_and_values_are_the_same() -> None:
    described = {node.name for node in INTERFACE.body if isinstance(node, ast.FunctionDef)}
    compiled = {name for name, value in vars(_core).items() if not isinstance(value, (type, ModuleType))}

    assert public(compiled) == public(described | VALUES)


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_is_the_class_itself(alias: str, name: str) -> None:
    assert getattr(_core, alias) is getattr(_core, name)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_members_are_the_same(name: str) -> None:
    compiled = getattr(_core, name)

    assert public(vars(compiled)) == described_members(CLASSES[name])


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"Attachment"}))
def test_native_class_names_its_documented_module(name: str) -> None:
    compiled = getattr(_core, name)

    assert (compiled.__module__, compiled.__qualname__) == ("c_python_backend_utils", name)


def test_version_is_that_of_the_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", _core.__version__)
    assert pb_utils.__version__ == _core.__version__
