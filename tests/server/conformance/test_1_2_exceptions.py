"""TritonModelException: what the library raises, and what a model may raise itself."""

from __future__ import annotations

import re

import pytest
from serving.client import Client
from serving.scripted import SCRIPTED, SCRIPTED_CONFIG, do
from serving.types import Load
from tritonclient.utils import InferenceServerException


@pytest.mark.parametrize("argument", ["'the text'", "b'the text'.decode()", "'the text', 2"])
def test_a_model_may_raise_it(load: Load, client: Client, argument: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    text = "('the text', 2)" if "," in argument else "the text"
    expected = f"model '{model}_0', message: TritonModelException: {text}\n\nAt:\n  <string>(1): <module>\n"
    with pytest.raises(InferenceServerException, match=re.escape(expected)):
        do(client, model, f"raise pb_utils.TritonModelException({argument})")
    assert do(client, model, "answer = 'fine'") == "fine"


@pytest.mark.parametrize("caught", ["pb_utils.TritonModelException", "Exception"])
def test_a_model_may_catch_it(load: Load, http: Client, caught: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = f"""
        import numpy as np
        try:
            pb_utils.Tensor("", np.zeros(1))
        except {caught} as error:
            answer = [type(error).__name__, str(error), error.args]
    """
    text = "Tensor name cannot be an empty string."
    assert do(http, model, script) == ["TritonModelException", text, [text]]
