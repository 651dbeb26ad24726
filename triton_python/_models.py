"""Makes model repositories of what people point at: a repository, a model's folder, or a bare model.py.

Triton wants `<repository>/<model>/<version>/model.py`. For what is less than that, a repository of links is
composed in the cache; the model's own files stay where they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from triton_python._composed import Composition, composed_folder
from triton_python._config_text import top_level_fields
from triton_python._errors import TritonPythonError
from triton_python._paths import absolute_path

CONFIG = "config.pbtxt"
MODEL_FILE = "model.py"
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://")
_VERSION = re.compile(r"[1-9][0-9]*")
WHAT_A_MODEL_IS = f"a model is a folder with {CONFIG} and 1/{MODEL_FILE}"


def is_remote(place: str) -> bool:
    """Whether `place` is in cloud storage, which the server knows how to read and we do not."""
    return _REMOTE.match(place) is not None


def repositories(places: Sequence[str]) -> list[str]:
    """The repositories for the server: those among `places`, and one of links for the models among them.

    Raises:
        TritonPythonError: at one of them there is nothing to serve, or two models share a name.
    """
    found: list[str] = []
    links: dict[str, Path] = {}
    sources: dict[str, str] = {}
    for place in places:
        if is_remote(place):
            found.append(place)
            continue
        folder = place_folder(place)
        if not is_model(folder):
            found.append(place)
            continue
        name = model_name(folder)
        if name in sources:
            raise TritonPythonError(
                f"{sources[name]} and {place} are both models named {name!r}: serve one of them"
            )
        sources[name] = place
        links.update(_model_links(name, folder))
    if links:
        found.append(str(composed_folder("repositories", Composition(links))))
    return found


def models_in(repository: Path) -> list[Path]:
    """The folders that Triton would take for models: all of them."""
    return sorted(entry for entry in repository.iterdir() if entry.is_dir())


def versions_of(model: Path) -> list[Path]:
    """The folders that Triton would take for versions: those with a number that does not begin with 0."""
    found = [entry for entry in model.iterdir() if entry.is_dir() and _VERSION.fullmatch(entry.name)]
    return sorted(found, key=lambda folder: int(folder.name))


def is_model(folder: Path) -> bool:
    """Whether it is a model itself, not a repository of models."""
    if (folder / CONFIG).is_file() or (folder / MODEL_FILE).is_file():
        return True
    return any((version / MODEL_FILE).is_file() for version in versions_of(folder))


def model_name(folder: Path) -> str:
    """As its configuration has it; else the folder's."""
    try:
        text = (folder / CONFIG).read_text(errors="replace")
    except OSError:
        text = ""
    return top_level_fields(text).get("name") or folder.name


def check_is_not_empty(repository: str) -> None:
    """Raises TritonPythonError if there is not one model: such a server would be ready and serve nothing."""
    if not is_remote(repository) and not models_in(Path(repository)):
        raise TritonPythonError(
            f"there is no model in {absolute_path(repository)}: {WHAT_A_MODEL_IS}; to start without one and "
            "load some later, say --model-control-mode=explicit"
        )


def place_folder(place: str) -> Path:
    """The folder that `place` names, readable; that of the model if it names a model.py."""
    path = absolute_path(place)
    if not path.exists():
        raise TritonPythonError(f"there is no model repository at {path}: check the path")
    if path.name == MODEL_FILE and path.is_file():
        folder = path.parent
        # <model>/<version>/model.py, where the model has a name and maybe a configuration.
        return folder.parent if _VERSION.fullmatch(folder.name) else folder
    if not path.is_dir():
        raise TritonPythonError(
            f"the model repository {path} is not a folder: give the folder of the models, or of one model"
        )
    if not os.access(path, os.R_OK | os.X_OK):
        raise TritonPythonError(f"the model repository {path} cannot be read: check its permissions")
    return path


def _model_links(name: str, folder: Path) -> dict[str, Path]:
    if versions_of(folder) or not (folder / MODEL_FILE).is_file():
        return {name: folder}
    # A bare model.py: all of its folder is the version, so that files beside it are found.
    links = {f"{name}/1": folder}
    if (folder / CONFIG).is_file():
        links[f"{name}/{CONFIG}"] = folder / CONFIG
    return links
