"""ModelConfig: what auto_complete_config may change, and the text of what it may not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from triton_python_backend_utils import ModelConfig

WHERE = "in auto-complete-config function for model 'M'"
X = {"name": "X", "data_type": "TYPE_FP32", "dims": [4]}


def config(**fields: Any) -> ModelConfig:
    return ModelConfig(json.dumps({"name": "M", "max_batch_size": 0, "input": [], "output": [], **fields}))


def refused(text: str) -> Any:
    return pytest.raises(ValueError, match=f"^{re.escape(text)}$")


def add(kind: str, target: ModelConfig, tensor: dict[str, Any]) -> None:
    (target.add_input if kind == "input" else target.add_output)(tensor)


def test_as_dict_is_the_configuration_itself() -> None:
    target = config()

    target.as_dict()["name"] = "other"

    assert target.as_dict()["name"] == "other"


@pytest.mark.parametrize("size", [4, 5])
def test_max_batch_size_can_be_kept_or_raised(size: int) -> None:
    target = config(max_batch_size=4)

    target.set_max_batch_size(size)

    assert target.as_dict()["max_batch_size"] == size


def test_max_batch_size_cannot_be_lowered() -> None:
    with refused(
        "configuration specified max_batch_size 4, but in auto-complete-config function for model 'M' "
        "specified max_batch_size 3"
    ):
        config(max_batch_size=4).set_max_batch_size(3)


def test_dynamic_batching_is_added_once() -> None:
    target = config()

    target.set_dynamic_batching()
    target.as_dict()["dynamic_batching"]["preferred_batch_size"] = [2]
    target.set_dynamic_batching()

    assert target.as_dict()["dynamic_batching"] == {"preferred_batch_size": [2]}


@pytest.mark.parametrize("other", ["sequence_batching", "ensemble_scheduling"])
def test_dynamic_batching_refuses_another_scheduler(other: str) -> None:
    with refused(
        f"Configuration specified scheduling_choice as '{other}', but auto-complete-config function "
        "for model 'M' tries to set scheduling_choice as 'dynamic_batching'"
    ):
        config(**{other: {}}).set_dynamic_batching()


@pytest.mark.parametrize("kind", ["input", "output"])
def test_new_tensor_is_appended(kind: str) -> None:
    target = config(**{kind: [{**X, "name": "first"}]})

    add(kind, target, X)

    assert target.as_dict()[kind] == [{**X, "name": "first"}, X]


@pytest.mark.parametrize("kind", ["input", "output"])
def test_new_tensor_is_a_copy(kind: str) -> None:
    target, tensor = config(), dict(X)

    add(kind, target, tensor)
    tensor["name"] = "changed"

    assert target.as_dict()[kind] == [X]


@pytest.mark.parametrize("kind", ["input", "output"])
def test_tensor_is_added_where_the_section_is_missing(kind: str) -> None:
    target = ModelConfig('{"name": "M"}')

    add(kind, target, X)

    assert target.as_dict()[kind] == [X]


@pytest.mark.parametrize("kind", ["input", "output"])
def test_configured_tensor_is_completed_in_place(kind: str) -> None:
    target = config(
        **{kind: [{"name": "X", "data_type": "TYPE_INVALID", "dims": [], "format": "FORMAT_NONE"}]}
    )

    add(kind, target, X)

    assert target.as_dict()[kind] == [{**X, "format": "FORMAT_NONE"}]


def test_optional_is_taken_over() -> None:
    target = config(input=[dict(X)])

    target.add_input({**X, "optional": True})

    assert target.as_dict()["input"] == [{**X, "optional": True}]


def test_optional_may_be_left_out() -> None:
    target = config(input=[{**X, "optional": True}])

    target.add_input(X)

    assert target.as_dict()["input"] == [{**X, "optional": True}]


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [("input", "'name', 'data_type', 'dims' and 'optional'"), ("output", "'name', 'data_type' and 'dims'")],
)
def test_unknown_property_is_refused(kind: str, allowed: str) -> None:
    with refused(f"{kind} 'X' {WHERE} contains property other than {allowed}."):
        add(kind, config(), {**X, "shape": [1]})


def test_output_cannot_be_optional() -> None:
    with refused(f"output 'X' {WHERE} contains property other than 'name', 'data_type' and 'dims'."):
        config().add_output({**X, "optional": True})


def test_unknown_property_of_a_tensor_without_name_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        config().add_input({"shape": [1]})


@pytest.mark.parametrize("kind", ["input", "output"])
@pytest.mark.parametrize("key", ["data_type", "dims"])
def test_missing_property_is_refused(kind: str, key: str) -> None:
    with refused(f"{kind} 'X' {WHERE} is missing '{key}' property."):
        add(kind, config(), {k: v for k, v in X.items() if k != key})


@pytest.mark.parametrize("kind", ["input", "output"])
def test_missing_name_is_refused(kind: str) -> None:
    with refused(f"{kind} {WHERE} is missing 'name' property."):
        add(kind, config(), {"data_type": "TYPE_FP32", "dims": [4]})


@pytest.mark.parametrize("kind", ["input", "output"])
def test_other_data_type_is_refused(kind: str) -> None:
    with refused(
        f"unable to load model 'M', configuration expects datatype TYPE_INT8 for {kind} 'X', "
        "model provides TYPE_FP32"
    ):
        add(kind, config(**{kind: [{**X, "data_type": "TYPE_INT8"}]}), X)


@pytest.mark.parametrize("kind", ["input", "output"])
def test_other_dims_are_refused_and_nothing_changes(kind: str) -> None:
    configured = {"name": "X", "data_type": "TYPE_INVALID", "dims": [2, 2]}
    target = config(**{kind: [configured]})

    with refused(
        "model 'M', tensor 'X': the model expects dims [4] but the model configuration specifies dims [2, 2]"
    ):
        add(kind, target, X)

    assert target.as_dict()[kind] == [configured]


def test_other_optional_is_refused() -> None:
    with refused(
        "model 'M', tensor 'X': the model expects optional True "
        "but the model configuration specifies optional False"
    ):
        config(input=[{**X, "optional": False}]).add_input({**X, "optional": True})


def test_transaction_policy_is_set() -> None:
    target = config()

    target.set_model_transaction_policy({"decoupled": True})
    target.set_model_transaction_policy({"decoupled": True})

    assert target.as_dict()["model_transaction_policy"] == {"decoupled": True}


def test_empty_transaction_policy_creates_the_section() -> None:
    target = config()

    target.set_model_transaction_policy({})

    assert target.as_dict()["model_transaction_policy"] == {}


def test_unknown_transaction_property_is_refused() -> None:
    with refused(
        "model transaction property in auto-complete-config function for model 'M' "
        "contains property other than 'decoupled'."
    ):
        config().set_model_transaction_policy({"decoupled": True, "coupled": 1})


def test_decoupled_cannot_be_changed() -> None:
    with refused(
        "trying to change decoupled property in auto-complete-config for model 'M', "
        "which is already set to 'True'."
    ):
        config(model_transaction_policy={"decoupled": True}).set_model_transaction_policy(
            {"decoupled": False}
        )
