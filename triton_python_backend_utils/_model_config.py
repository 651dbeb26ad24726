"""`ModelConfig`: what a model's `auto_complete_config` reads, changes and returns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_REQUIRED = ("name", "data_type", "dims")
_WHERE = "auto-complete-config function for model"


class ModelConfig:
    """A model configuration to complete; nothing that is already configured may be contradicted."""

    def __init__(self, model_config: str | bytes) -> None:
        self._model_config: dict[str, Any] = json.loads(model_config)

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration itself, not a copy: changes made to the result count."""
        return self._model_config

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """Set `max_batch_size`.

        Raises:
            ValueError: the configuration has a larger one.
        """
        configured = self._model_config.get("max_batch_size", 0)
        if configured > max_batch_size:
            raise ValueError(
                f"configuration specified max_batch_size {configured}, but in {_WHERE} "
                f"'{self._name}' specified max_batch_size {max_batch_size}"
            )
        self._model_config["max_batch_size"] = max_batch_size

    def set_dynamic_batching(self) -> None:
        """Turn dynamic batching on, keeping settings that are there.

        Raises:
            ValueError: the model has a sequence batcher or is an ensemble.
        """
        for other in ("sequence_batching", "ensemble_scheduling"):
            if other in self._model_config:
                raise ValueError(
                    f"Configuration specified scheduling_choice as '{other}', but {_WHERE} "
                    f"'{self._name}' tries to set scheduling_choice as 'dynamic_batching'"
                )
        self._model_config.setdefault("dynamic_batching", {})

    def add_input(self, input: Mapping[str, Any]) -> None:
        """Add an input (`name`, `data_type`, `dims`, and maybe `optional`), or complete the one of that name.

        Raises:
            ValueError: a property is missing or unknown, or contradicts the configuration.
        """
        if any(key not in (*_REQUIRED, "optional") for key in input):
            raise ValueError(
                f"input '{input['name']}' in {_WHERE} '{self._name}' contains property other than "
                "'name', 'data_type', 'dims' and 'optional'."
            )
        self._add("input", input)

    def add_output(self, output: Mapping[str, Any]) -> None:
        """Add an output (`name`, `data_type`, `dims`), or complete the one of that name.

        Raises:
            ValueError: a property is missing or unknown, or contradicts the configuration.
        """
        if any(key not in _REQUIRED for key in output):
            raise ValueError(
                f"output '{output['name']}' in {_WHERE} '{self._name}' contains property other than "
                "'name', 'data_type' and 'dims'."
            )
        self._add("output", output)

    def set_model_transaction_policy(self, transaction_policy_dict: Mapping[str, Any]) -> None:
        """Set `decoupled`; an empty mapping only creates the section.

        Raises:
            ValueError: another property is given, or `decoupled` is configured differently.
        """
        if any(key != "decoupled" for key in transaction_policy_dict):
            raise ValueError(
                f"model transaction property in {_WHERE} '{self._name}' "
                "contains property other than 'decoupled'."
            )
        policy = self._model_config.setdefault("model_transaction_policy", {})
        for key, new in transaction_policy_dict.items():
            if policy.get(key, new) != new:
                raise ValueError(
                    f"trying to change decoupled property in auto-complete-config for model '{self._name}', "
                    f"which is already set to '{policy[key]}'."
                )
            policy[key] = new

    @property
    def _name(self) -> str:
        return str(self._model_config.get("name", ""))

    def _add(self, kind: str, tensor: Mapping[str, Any]) -> None:
        if "name" not in tensor:
            raise ValueError(f"{kind} in {_WHERE} '{self._name}' is missing 'name' property.")
        for key in ("data_type", "dims"):
            if key not in tensor:
                raise ValueError(
                    f"{kind} '{tensor['name']}' in {_WHERE} '{self._name}' is missing '{key}' property."
                )
        entries: list[dict[str, Any]] = self._model_config.setdefault(kind, [])
        for entry in entries:
            if entry["name"] == tensor["name"]:
                self._check_agreement(kind, entry, tensor)
                entry.update(tensor)
                return
        entries.append(dict(tensor))

    def _check_agreement(self, kind: str, configured: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        data_type = configured.get("data_type", "TYPE_INVALID")
        if data_type not in ("TYPE_INVALID", new["data_type"]):
            raise ValueError(
                f"unable to load model '{self._name}', configuration expects datatype {data_type} "
                f"for {kind} '{new['name']}', model provides {new['data_type']}"
            )
        # Empty dims say "not configured", and an `optional` that either side leaves out is no contradiction.
        if not configured.get("dims"):
            configured = {**configured, "dims": new["dims"]}
        for key in ("dims", "optional"):
            if key in configured and key in new and configured[key] != new[key]:
                raise ValueError(
                    f"model '{self._name}', tensor '{new['name']}': the model expects {key} {new[key]} "
                    f"but the model configuration specifies {key} {configured[key]}"
                )
