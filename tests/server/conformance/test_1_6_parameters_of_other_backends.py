"""A response parameter of a type that no model in Python can give: DOUBLE.

No backend of the server of these tests gives one either, so a library in the place of the backend's does it:
tests/cpp/backend/ready_proxy.cc.
"""

from __future__ import annotations

import json

import pytest
from serving.calls import CALLER_CONFIG, ask, caller
from serving.client import Client
from serving.contender import Contender
from serving.proxy import behind_proxy
from serving.repository import identity_config, model_code
from serving.types import Load

IN = '{"IN": ints(1)}, request_id="double!"'


@pytest.fixture(scope="module")
def contender(contender: Contender, tmp_path_factory: pytest.TempPathFactory) -> Contender:
    return behind_proxy(contender, tmp_path_factory.mktemp("double") / "backends")


@pytest.mark.differs("double-parameter")
@pytest.mark.parametrize(
    "call", [f"request(child, {IN}).exec()", f"next(iter(request(child, {IN}).exec(decoupled=True)))"]
)
def test_it_comes_back_from_a_call(load: Load, http: Client, call: str) -> None:
    child = load(model_code("identity"), identity_config("INT32"))
    model = load(
        caller(f"""
            response = {call}
            return [text_of(response), response.parameters()]
        """),
        CALLER_CONFIG,
    )
    error, parameters = ask(http, model, child=child)
    assert error == "no error"
    assert json.loads(parameters) == {"third": 1 / 3}
