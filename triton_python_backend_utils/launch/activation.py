"""The environment variables of an activated environment, for the model's process alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from . import processes

HOOK_LIMIT_S = 120.0

# What the shell that runs a hook sets for itself.
_SHELLS_OWN = {"_", "SHLVL", "PWD", "OLDPWD"}
# A shell without prompt would run what these name before the hook.
_START_FILES = {"BASH_ENV", "ENV"}
# What a hook sets here is for the model. The shells of the hooks after it are spared: conda's libraries are
# not those that they were built with.
_LOADERS = {"LD_LIBRARY_PATH", "LD_PRELOAD"}
_RUN_HOOK = """
_tpb_hook=$1 _tpb_env=$2
shift 2
if [ $# -gt 0 ]; then export "$@"; fi
set --
. "$_tpb_hook" 1>&2
_tpb_status=$?
"$_tpb_env" -0
exit $_tpb_status
"""


def activated(
    environ: Mapping[str, str],
    prefix: Path,
    packed: bool,
    alive: Callable[[], None] = lambda: None,
    warn: Callable[[str], None] = lambda text: None,
    hook_limit_s: float = HOOK_LIMIT_S,
) -> dict[str, str]:
    """`environ` as activating the environment in a shell would change it; nothing else is changed.

    A conda environment's hooks (`etc/conda/activate.d/*.sh`) are run; one that fails or takes longer than
    `hook_limit_s` seconds is told to `warn`, and what it set is lost. `packed` environments do not see the
    packages that the user installed for all Pythons of that version.
    """
    result = dict(environ)
    result["PATH"] = os.pathsep.join([str(prefix / "bin"), *filter(None, [environ.get("PATH")])])
    result.pop("PYTHONHOME", None)  # that of another Python
    if packed:
        result["PYTHONNOUSERSITE"] = "1"
    is_conda = (prefix / "conda-meta").is_dir()
    if (prefix / "pyvenv.cfg").is_file() or (packed and not is_conda):
        result["VIRTUAL_ENV"] = str(prefix)
        result["VIRTUAL_ENV_PROMPT"] = _venv_prompt(prefix)
    elif is_conda:
        result["CONDA_PREFIX"] = str(prefix)
        result["CONDA_DEFAULT_ENV"] = prefix.name if prefix.parent.name == "envs" else str(prefix)
        result["CONDA_SHLVL"] = "1"
        for hook in sorted((prefix / "etc" / "conda" / "activate.d").glob("*.sh")):
            result = _after_hook(hook, result, environ, alive, warn, hook_limit_s)
    return result


def _venv_prompt(prefix: Path) -> str:
    config = prefix / "pyvenv.cfg"  # not in an environment that `triton-python env pack` made of one
    for line in config.read_text("utf-8", "replace").splitlines() if config.is_file() else []:
        name, _, value = line.partition("=")
        if name.strip().lower() == "prompt" and value.strip():
            return value.strip().strip("'\"")
    return prefix.name


def _after_hook(
    hook: Path,
    before: dict[str, str],
    outside: Mapping[str, str],
    alive: Callable[[], None],
    warn: Callable[[str], None],
    limit_s: float,
) -> dict[str, str]:
    """The variables after one hook of a conda environment; as before where it does not come to its end."""
    shell = shutil.which("bash", path=outside.get("PATH")) or shutil.which("sh") or "/bin/sh"
    env = shutil.which("env", path=outside.get("PATH")) or "/usr/bin/env"
    loaders = {name for name in _LOADERS if name in before and before[name] != outside.get(name)}
    kept_back = {name: before[name] for name in _START_FILES if name in before}
    own = {name: text for name, text in before.items() if name not in loaders and name not in kept_back}
    own.update({name: outside[name] for name in loaders if name in outside})
    exports = [f"{name}={before[name]}" for name in sorted(loaders)]
    try:
        ended = processes.run([shell, "-c", _RUN_HOOK, shell, hook, env, *exports], own, alive, limit_s)
    except processes.Overdue:
        warn(
            f"the activation hook {hook} still ran after {limit_s:g} s and was ended; what it sets is missing"
        )
        return before
    except OSError as error:
        warn(f"the activation hook {hook} was not run, because {shell} does not start: {error}")
        return before
    after = _parse(ended.output)
    if ended.status != 0 or not after:
        lost = "" if after else "; what it sets is missing"
        warn(f"the activation hook {hook} failed ({ended.how()}){lost}: {_text(ended.errors)}")
    if not after:
        return before
    result = {name: text for name, text in after.items() if name not in _SHELLS_OWN}
    result.update({name: before[name] for name in _SHELLS_OWN if name in before})
    return {**kept_back, **result}


def _parse(output: bytes) -> dict[str, str]:
    """What `env -0` wrote; without functions, which bash exports as BASH_FUNC_name%%=() { ..."""
    pairs = [entry.partition(b"=") for entry in output.split(b"\0") if b"=" in entry]
    return {os.fsdecode(name): os.fsdecode(text) for name, _, text in pairs if not name.endswith(b"%%")}


def _text(errors: bytes) -> str:
    return errors.decode("utf-8", "replace").strip()[-1000:] or "it printed nothing"
