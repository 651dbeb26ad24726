"""Finding configuration entries by name; tensors are looked for in test_request.py and test_response.py."""

from __future__ import annotations

from typing import Any

import pytest

import triton_python_backend_utils as pb_utils

CONFIG: dict[str, Any] = {
    "input": [{"name": "A", "dims": [1]}, {"name": "B", "dims": [2]}],
    "output": [{"name": "A", "dims": [3]}],
}


def test_entries_are_found_by_name() -> None:
    assert pb_utils.get_input_config_by_name(CONFIG, "B") is CONFIG["input"][1]
    assert pb_utils.get_output_config_by_name(CONFIG, "A") is CONFIG["output"][0]


def test_name_that_is_not_there_gives_none() -> None:
    assert pb_utils.get_input_config_by_name(CONFIG, "C") is None
    assert pb_utils.get_output_config_by_name(CONFIG, "B") is None


def test_configuration_without_the_section_gives_none() -> None:
    assert pb_utils.get_input_config_by_name({}, "A") is None
    assert pb_utils.get_output_config_by_name({}, "A") is None


@pytest.mark.parametrize(
    ("config", "decoupled"),
    [
        ({}, False),
        ({"model_transaction_policy": {"decoupled": False}}, False),
        ({"model_transaction_policy": {"decoupled": True}}, True),
    ],
)
def test_decoupled_is_read_from_the_transaction_policy(config: dict[str, Any], decoupled: bool) -> None:
    assert pb_utils.using_decoupled_model_transaction_policy(config) is decoupled


def test_empty_transaction_policy_is_not_decoupled() -> None:
    assert pb_utils.using_decoupled_model_transaction_policy({"model_transaction_policy": {}}) is False
