"""What the message loop in `_core` asks of Python when it loads a model: import, configuration, arguments.

`_core` gets this module as the `loader` argument of `Attachment.serve`, and calls it on the main thread.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import inspect
import json
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ._core import Logger
from ._describe import LoadError, describe_exception
from ._lookup import using_decoupled_model_transaction_policy
from ._model_config import ModelConfig
from ._model_parameters import ENVIRONMENT, FORCE_CPU, read_supervision
from ._readiness import ready_check
from ._slow_start import begin_phase, end_phase, note_phases, report_start

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

__all__ = [
    "LoadError",
    "ModelSettings",
    "UnsupportedSetting",
    "auto_complete",
    "begin_phase",
    "describe_exception",
    "end_phase",
    "flush_output",
    "is_async",
    "know_launch",
    "load_model_class",
    "make_args",
    "model_file",
    "read_settings",
    "ready_check",
    "report_start",
]


# What the log tells of FORCE_CPU_ONLY_INPUT_TENSORS, as that of NVIDIA's backend does.
_FORCE_CPU_TEXTS = {
    "yes": "Forcing CPU only input tensors.",
    "no": "Input tensors can be both in CPU and GPU. FORCE_CPU_ONLY_INPUT_TENSORS is off.",
}


class UnsupportedSetting(LoadError):
    """The configuration asks for something we do not have; the server reports it as UNSUPPORTED."""


class ModelSettings(NamedTuple):
    """The fields of a model configuration that the data plane needs to know."""

    max_batch_size: int
    decoupled: bool
    force_cpu_only_input_tensors: bool
    state_outputs: tuple[str, ...] = ()
    """The outputs that core keeps as the state of a sequence."""
    execute_timeout_ms: int = 0
    replay_after_crash: bool = False


@dataclass
class _Launch:
    """How this process was started."""

    environment: str = ""
    """The value of EXECUTION_ENV_PATH."""


_launch = _Launch()


def know_launch(environment: str, phases: Iterable[tuple[str, float]]) -> None:
    """Learn from the launcher which EXECUTION_ENV_PATH it has prepared, and what took how many seconds."""
    _launch.environment = environment
    note_phases(phases)


def model_file(default: str, model_dir: str, config_json: str) -> str:
    """The file that holds the model: `default`, or what `default_model_filename` names beside it.

    A `default` outside the model's folder is that of a python-based backend, and always the one.

    Raises:
        LoadError: the configuration names another environment than this process was started in.
    """
    config: dict[str, Any] = json.loads(config_json)
    environment = config.get("parameters", {}).get(ENVIRONMENT, {}).get("string_value", "")
    if environment != _launch.environment:
        raise LoadError(
            f"the configuration of model '{config.get('name', '')}' has EXECUTION_ENV_PATH '{environment}', "
            f"and had '{_launch.environment}' when its process was started: auto_complete_config cannot "
            "change the environment that it runs in; set the parameter in config.pbtxt"
        )
    name = "" if _is_shared(default, model_dir) else config.get("default_model_filename", "")
    return str(Path(default).with_name(name)) if name else default


def load_model_class(model_file: str, model_dir: str, version: str, backend_dir: str) -> type:
    """Import `<model_dir>/<version>/<name>.py` as `<version>.<name>` and return its TritonPythonModel.

    A file outside `model_dir`, of a python-based backend, is imported as plain `<name>`, with its own folder
    on `sys.path` in place of the model's.

    The version folder, `model_dir` and `backend_dir` end up on `sys.path`, behind what is there, so that
    `import sibling` works as well as `from . import sibling`, and a process spawned by the model finds
    everything again.

    Raises:
        LoadError: the file is missing or is not a `.py` file.
        AttributeError: the module has no TritonPythonModel.
    """
    file = Path(model_file)
    if file.suffix != ".py":
        raise LoadError(f"Model name must end with '.py'. Model name is \"{file.name}\".")
    if not file.is_file():
        raise LoadError(f"Failed to preinitialize Python stub: Python model file not found in '{model_file}'")
    shared = _is_shared(model_file, model_dir)
    for folder in (str(file.parent), *([] if shared else [model_dir]), backend_dir):
        if folder not in sys.path:
            sys.path.append(folder)
    with _no_bytecode():
        if shared:
            module = _import_file(file.stem, file)
        else:
            _import_version_package(version, file.parent)
            module = _import_file(f"{version}.{file.stem}", file)
    if not hasattr(module, "TritonPythonModel"):
        raise AttributeError(f"module '{module.__name__}' has no attribute 'TritonPythonModel'")
    return cast("type", module.TritonPythonModel)


def auto_complete(model_class: type, config_json: str, model_name: str) -> str:
    """Let the model complete its configuration, and return the result; unchanged without such a function.

    Raises:
        LoadError: the function returned something else than a ModelConfig.
    """
    hook = getattr(model_class, "auto_complete_config", None)
    if hook is None:
        return config_json
    completed = hook(ModelConfig(config_json))
    if not isinstance(completed, ModelConfig):
        raise LoadError(
            f"auto_complete_config function in model '{model_name}' "
            "must return a valid pb.ModelConfig object."
        )
    return json.dumps(completed.as_dict())


def is_async(model_class: type) -> bool:
    """Whether `execute` is `async def`, so that an event loop will be needed."""
    return inspect.iscoroutinefunction(getattr(model_class, "execute", None))


def flush_output() -> None:
    """Write out what the model has printed, as far as that can be done."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # None, closed, or something of the model's own
            stream.flush()


def make_args(
    model_config: str,
    model_instance_kind: str,
    model_instance_name: str,
    model_instance_device_id: str,
    model_repository: str,
    model_version: str,
    model_name: str,
) -> dict[str, str]:
    """Return the argument of the model's `initialize`: exactly these keys, all text."""
    return {
        "model_config": model_config,
        "model_instance_kind": model_instance_kind,
        "model_instance_name": model_instance_name,
        "model_instance_device_id": model_instance_device_id,
        "model_repository": model_repository,
        "model_version": model_version,
        "model_name": model_name,
    }


def read_settings(config_json: str) -> ModelSettings:
    """Read what the data plane needs from a model configuration; what is not there has its default.

    Raises:
        UnsupportedSetting: FORCE_CPU_ONLY_INPUT_TENSORS is neither `yes` nor `no`.
        LoadError: another parameter of the backend has a value that it cannot have.
    """
    config: dict[str, Any] = json.loads(config_json)
    parameter: dict[str, Any] = config.get("parameters", {}).get(FORCE_CPU, {})
    force_cpu = parameter.get("string_value", "yes")
    if force_cpu not in _FORCE_CPU_TEXTS:
        # The lone quote is what clients of this backend have always seen, and match on.
        raise UnsupportedSetting(f"Incorrect value for FORCE_CPU_ONLY_INPUT_TENSORS: {force_cpu}'")
    if parameter:
        Logger.log_info(_FORCE_CPU_TEXTS[force_cpu])
    supervision = read_supervision(config)
    return ModelSettings(
        max_batch_size=int(config.get("max_batch_size", 0)),
        decoupled=bool(using_decoupled_model_transaction_policy(config)),
        force_cpu_only_input_tensors=force_cpu == "yes",
        state_outputs=tuple(
            str(state["output_name"]) for state in config.get("sequence_batching", {}).get("state", [])
        ),
        execute_timeout_ms=supervision.execute_timeout_ms,
        replay_after_crash=supervision.replay_after_crash,
    )


def _is_shared(model_file: str, model_dir: str) -> bool:
    """Whether the file belongs to a python-based backend and not to one model."""
    return Path(model_dir) not in Path(model_file).parents


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """Keep `__pycache__` out of the model repository, which others read and may have mounted read-only."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _import_version_package(version: str, folder: Path) -> None:
    """Make the version folder a package of that name, here and nowhere else.

    Found by `sys.path` it would be the first folder `1` of any, such as one in the current folder.
    """
    init = folder / "__init__.py"
    if init.is_file():
        _import_file(version, init, [str(folder)])
        return
    spec = importlib.machinery.ModuleSpec(version, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules[version] = importlib.util.module_from_spec(spec)


def _import_file(name: str, file: Path, search: list[str] | None = None) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=search)
    if spec is None or spec.loader is None:
        raise ImportError(f"Python cannot import '{file}'", name=name, path=str(file))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
