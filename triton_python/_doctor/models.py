"""Check of model repositories: what Triton would stumble over in their layout."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from triton_python._config_text import top_level_fields
from triton_python._doctor.result import Finding, failed, ok, warning
from triton_python._doctor.subject import Subject
from triton_python._errors import TritonPythonError
from triton_python._models import (
    CONFIG,
    MODEL_FILE,
    WHAT_A_MODEL_IS,
    is_model,
    is_remote,
    models_in,
    place_folder,
    versions_of,
)

_LEGAL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Problem:
    """Something about a model."""

    what: str
    advice: str
    fatal: bool = True
    """Whether it keeps the model from loading."""


def models(subject: Subject) -> Finding:
    """Each model: its name, its versions, its files."""
    local = [place for place in subject.places if not is_remote(place)]
    if not local:
        return ok("not looked at: they lie in cloud storage")
    folders: list[Path] = []
    problems: list[tuple[Path, Problem]] = []
    for place in local:
        try:
            folder = place_folder(place)
        except TritonPythonError as error:
            found, _, advice = str(error).rpartition(": ")
            return failed(found, advice)
        inside = [folder] if is_model(folder) else models_in(folder)
        folders += inside
        for model in inside:
            # `serve` gives a model that is named by itself the name in its configuration.
            checked = model_problems(model, keeps_its_name=model != folder)
            problems += [(model, problem) for problem in checked]
    if not folders:
        return failed(f"there is no model in {', '.join(local)}", WHAT_A_MODEL_IS)
    if not problems:
        return ok(f"{len(folders)} found: {', '.join(folder.name for folder in folders)}")
    found = "; ".join(f"{model}: {problem.what}" for model, problem in problems)
    advice = "; ".join(dict.fromkeys(problem.advice for _, problem in problems))
    return failed(found, advice) if any(one.fatal for _, one in problems) else warning(found, advice)


def model_problems(model: Path, keeps_its_name: bool) -> Iterator[Problem]:
    """What Triton would stumble over."""
    if model.name.startswith((".", "__")):
        yield Problem("Triton takes it for a model", "keep other folders out of the repository")
        return
    fields = top_level_fields(_text(model / CONFIG))
    name = fields.get("name", model.name)
    if not _LEGAL_NAME.fullmatch(name):
        yield Problem(
            f"the name {name!r} has characters that need care in URLs and shells",
            "name models with letters, digits, '_', '-', '.' and '+'",
            fatal=False,
        )
    if keeps_its_name and name != model.name:
        yield Problem(
            f"{CONFIG} names the model {name!r}", "let its name be that of the folder, or leave it away"
        )
    yield from _version_problems(model, fields)
    for library in sorted([*model.glob("libtriton_*.so"), *model.glob("*/libtriton_*.so")]):
        yield Problem(
            f"Triton loads {library.relative_to(model)} instead of the backend",
            "remove libtriton_*.so from models that are to use the server's backends",
            fatal=False,
        )


def _version_problems(model: Path, fields: Mapping[str, str]) -> Iterator[Problem]:
    versions = versions_of(model)
    if not versions and (model / MODEL_FILE).is_file() and is_model(model):
        versions = [model]  # a bare model.py, of which `serve` makes a version
    if not versions:
        yield Problem(
            "it has no version folder",
            f"put the model into a folder named 1, as in 1/{MODEL_FILE} (an ensemble has an empty one)",
        )
        return
    if "backend" not in fields and "platform" not in fields and not _has_model_file(versions):
        yield Problem(
            f"nothing tells which backend it is for, and no version has a {MODEL_FILE}", WHAT_A_MODEL_IS
        )
    elif fields.get("backend", "python") == "python" and "platform" not in fields:
        yield from _source_problems(model, versions, fields)


def _source_problems(model: Path, versions: Sequence[Path], fields: Mapping[str, str]) -> Iterator[Problem]:
    filename = fields.get("default_model_filename") or MODEL_FILE
    if "backend" not in fields and not any((version / filename).is_file() for version in versions):
        return  # another backend's file, which Triton knows by its name
    for version in versions:
        if not (version / filename).is_file():
            source = (version / filename).relative_to(model)
            yield Problem(f"there is no {source}", f"put {filename} into each version folder")
    sources = [_text(version / filename) for version in versions]
    if not fields and not any("auto_complete_config" in source for source in sources):
        yield Problem(
            f"it has no {CONFIG}, and its {filename} does not speak of auto_complete_config",
            f"write a {CONFIG} with inputs and outputs, or a method auto_complete_config",
            fatal=False,
        )


def _has_model_file(versions: Sequence[Path]) -> bool:
    return any(file.name.startswith("model.") for version in versions for file in version.iterdir())


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
