"""Find a tensor in a request or response, or an entry in a model configuration, by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._text import as_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._core import InferenceRequest, InferenceResponse, Tensor


def get_input_tensor_by_name(inference_request: InferenceRequest, name: str | bytes) -> Tensor | None:
    """Return the input of that name, or None when the request does not have it."""
    return _tensor_named(inference_request.inputs(), name)


def get_output_tensor_by_name(inference_response: InferenceResponse, name: str | bytes) -> Tensor | None:
    """Return the output of that name, or None when the response does not have it."""
    return _tensor_named(inference_response.output_tensors(), name)


def get_input_config_by_name(model_config: Mapping[str, Any], name: str | bytes) -> dict[str, Any] | None:
    """Return the entry under `input` of that name, or None. `model_config` is the parsed configuration."""
    return _entry_named(model_config, "input", name)


def get_output_config_by_name(model_config: Mapping[str, Any], name: str | bytes) -> dict[str, Any] | None:
    """Return the entry under `output` of that name, or None. `model_config` is the parsed configuration."""
    return _entry_named(model_config, "output", name)


def using_decoupled_model_transaction_policy(model_config: Mapping[str, Any]) -> bool:
    """Say whether the parsed configuration makes the model decoupled."""
    policy: Mapping[str, Any] = model_config.get("model_transaction_policy", {})
    decoupled: bool = policy.get("decoupled", False)
    return decoupled


def _tensor_named(tensors: Iterable[Tensor], name: str | bytes) -> Tensor | None:
    wanted = as_text(name)
    return next((tensor for tensor in tensors if tensor.name() == wanted), None)


def _entry_named(model_config: Mapping[str, Any], key: str, name: str | bytes) -> dict[str, Any] | None:
    entries: Iterable[dict[str, Any]] = model_config.get(key, ())
    wanted = as_text(name)
    return next((entry for entry in entries if entry["name"] == wanted), None)
