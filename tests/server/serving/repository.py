"""Writes model repositories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

MODELS = Path(__file__).parent.parent / "models"

Tensors = Mapping[str, tuple[str, Sequence[int]]]
"""Name -> data type, dims: `{"IN": ("FP32", [-1])}`."""


def write_model(
    repository: Path,
    name: str,
    code: str | None,
    config: str | None = "",
    version: int = 1,
    filename: str = "model.py",
) -> Path:
    """Write a model and return its folder. No `code`: no model file; no `config`: no config.pbtxt."""
    folder = repository / name
    (folder / str(version)).mkdir(parents=True, exist_ok=True)
    if code is not None:
        (folder / str(version) / filename).write_text(code)
    if config is not None:
        (folder / "config.pbtxt").write_text(config)
    return folder


def model_code(name: str) -> str:
    """The source of one of the models that several tests use."""
    return (MODELS / f"{name}.py").read_text()


def config(
    inputs: Tensors | None = None,
    outputs: Tensors | None = None,
    max_batch_size: int = 0,
    optional: Sequence[str] = (),
    more: str = "",
) -> str:
    """The text of a config.pbtxt."""
    parts = ['backend: "python"', f"max_batch_size: {max_batch_size}"]
    parts += [_tensor("input", one, *what, one in optional) for one, what in (inputs or {}).items()]
    parts += [_tensor("output", one, *what) for one, what in (outputs or {}).items()]
    return "\n".join([*parts, more, ""])


def identity_config(data_type: str = "FP32", dims: Sequence[int] = (-1,), **options: object) -> str:
    return config({"IN": (data_type, dims)}, {"OUT": (data_type, dims)}, **options)  # type: ignore[arg-type]


def parameters(**values: str) -> str:
    """The `parameters` part of a config.pbtxt."""
    return "\n".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}' for key, value in values.items()
    )


def instance_group(count: int = 1, kind: str = "KIND_CPU") -> str:
    return f"instance_group [ {{ count: {count} kind: {kind} }} ]"


def _tensor(role: str, name: str, data_type: str, dims: Sequence[int], optional: bool = False) -> str:
    more = " optional: true" if optional else ""
    return f'{role} [ {{ name: "{name}" data_type: TYPE_{data_type} dims: {list(dims)}{more} }} ]'
