"""Calls that could only wait for themselves end with an error that names the way round."""

from __future__ import annotations

import pytest
from serving.calls import CALLER_CONFIG, ask, caller
from serving.client import Client
from serving.types import Load

# There they wait for ever, and so does the unload.
pytestmark = pytest.mark.differs("cycle", run=False)

# Calls `told["way"]`, one model after the other, with what is left of the way.
NEXT = """
way = told.get("way", [])
if not way:
    return "the end"
text = np.frombuffer(json.dumps({"way": way[1:]}).encode(), np.uint8)
response = request(way[0], {"TOLD": text}).exec()
if response.has_error():
    return response.error().message()
return json.loads(bytes(arrays(response)["ANSWER"]))
"""
TWO = CALLER_CONFIG + "\ninstance_group [{ count: 2, kind: KIND_CPU }]"


def test_a_model_that_calls_itself(load: Load, http: Client) -> None:
    model = load(caller(NEXT), CALLER_CONFIG)
    answer = ask(http, model, way=[model])
    assert answer.startswith(
        f"Model {model} - Error when running inference: this call can only wait for itself: "
        f"'{model}' waits for '{model}', and no instance on the way is free."
    )
    assert ask(http, model, way=[]) == "the end"


def test_a_second_instance_answers(load: Load, http: Client) -> None:
    model = load(caller(NEXT), TWO)
    assert ask(http, model, way=[model]) == "the end"
    assert "this call can only wait for itself" in ask(http, model, way=[model, model])
    assert ask(http, model, way=[model]) == "the end"


def test_a_way_round_over_another_model(load: Load, http: Client) -> None:
    first, second = load(caller(NEXT), CALLER_CONFIG), load(caller(NEXT), CALLER_CONFIG)
    assert ask(http, first, way=[second]) == "the end"
    answer = ask(http, first, way=[second, first])
    assert f"'{second}' waits for '{first}', which waits for '{second}'" in answer
    assert ask(http, first, way=[second]) == "the end"
