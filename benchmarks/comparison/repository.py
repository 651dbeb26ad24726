"""Model repositories: one model each, the same for every backend but for the name of the backend."""

from __future__ import annotations

import shutil
from pathlib import Path

from comparison.backends import Backend
from comparison.cases import Case

MODELS = Path(__file__).resolve().parent.parent / "models"
TENSORS = {
    "identity": (["IN"], ["OUT"], "TYPE_FP32"),
    "strings": (["IN"], ["OUT"], "TYPE_STRING"),
    "add_sub": (["INPUT0", "INPUT1"], ["OUTPUT0", "OUTPUT1"], "TYPE_FP32"),
}
SCRIPTS = {"identity": "identity.py", "strings": "identity.py", "add_sub": "add_sub.py"}


def write_repository(folder: Path, case: Case, backend: Backend) -> Path:
    """`folder`, with the model that the case needs."""
    model = folder / case.payload
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(_config(case.payload, backend.in_config))
    shutil.copy(MODELS / SCRIPTS[case.payload], model / "1" / "model.py")
    return folder


def _config(model: str, backend: str) -> str:
    inputs, outputs, dtype = TENSORS[model]
    lines = [f'name: "{model}"', f'backend: "{backend}"', "max_batch_size: 0"]
    lines += [f'input {{name: "{name}" data_type: {dtype} dims: [-1]}}' for name in inputs]
    lines += [f'output {{name: "{name}" data_type: {dtype} dims: [-1]}}' for name in outputs]
    lines += ["instance_group {kind: KIND_CPU count: 1}"]
    return "\n".join(lines) + "\n"
