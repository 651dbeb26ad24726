"""Where the files of the model in this process lie."""

from __future__ import annotations

__all__ = ["get_model_dir", "set_model_dir"]

_model_dir: str | None = None


def get_model_dir() -> str:
    """Return the folder of the model's version, `<repository>/<model>/<version>`.

    Raises:
        RuntimeError: this process has no model of a server.
    """
    if _model_dir is None:
        raise RuntimeError(
            "get_model_dir() is known only to a model that a server has loaded; in other programs take the "
            "folder of the file itself"
        )
    return _model_dir


def set_model_dir(folder: str) -> None:
    """Let `get_model_dir` return `folder` from now on; called before the model is imported."""
    global _model_dir
    _model_dir = folder
