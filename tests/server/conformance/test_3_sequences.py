"""Sequence batching: which requests come together, and the control inputs that tell a model where it is."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, model_code
from serving.server import TritonServer
from serving.types import Load

TELLING = model_code("telling_tensors")
START, END = 1, 2
# Long enough never to pass in a test.
IDLE = "max_sequence_idle_microseconds: 600000000"
STRATEGIES = {"direct": "direct { }", "oldest": "oldest { max_candidate_sequences: 4 }"}


def control(name: str, kind: str, values: str) -> str:
    return f'{{ name: "{name}" control [ {{ kind: CONTROL_SEQUENCE_{kind} {values} }} ] }}'


def sequence_config(*controls: str, strategy: str = "direct { }", max_batch_size: int = 4) -> str:
    return config(
        {"IN": ("INT32", [1])},
        {"ANSWER": ("STRING", [1])},
        max_batch_size=max_batch_size,
        more=f"sequence_batching {{ {IDLE} {strategy} control_input [ {', '.join(controls)} ] }}",
    )


BOOLS = [
    control("START", "START", "bool_false_true: [ false, true ]"),
    control("END", "END", "bool_false_true: [ false, true ]"),
    control("READY", "READY", "bool_false_true: [ false, true ]"),
]


def ask(
    client: Client, model: str, sequence: int | str, value: int, start: bool = False, end: bool = False
) -> dict[str, Any]:
    got = client.infer(
        model,
        {"IN": np.array([[value]], np.int32)},
        sequence_id=sequence,
        sequence_start=start,
        sequence_end=end,
    )
    return dict(json.loads(got["ANSWER"].item()))


def controls(told: dict[str, Any]) -> dict[str, Any]:
    return {name: values for name, (_, values) in told["inputs"].items() if name != "IN"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_model_is_told_where_a_sequence_begins_and_ends(load: Load, client: Client, strategy: str) -> None:
    model = load(TELLING, sequence_config(*BOOLS[:2], strategy=STRATEGIES[strategy]))
    steps = [(True, False), (False, False), (False, True)]
    told = [ask(client, model, 3, number, *step) for number, step in enumerate(steps)]
    assert [one["inputs"]["IN"][1] for one in told] == [[[0]], [[1]], [[2]]]
    assert [controls(one) for one in told] == [{"START": [[start]], "END": [[end]]} for start, end in steps]
    assert [one["flags"] for one in told] == [START, 0, END]


@pytest.mark.parametrize(
    ("values", "dtype", "false", "true"),
    [
        ("int32_false_true: [ -5, 7 ]", "int32", -5, 7),
        ("fp32_false_true: [ 0.5, 1.5 ]", "float32", 0.5, 1.5),
        ("bool_false_true: [ false, true ]", "bool", False, True),
        ("bool_false_true: [ true, false ]", "bool", True, False),
    ],
    ids=["int32", "fp32", "bool", "turned round"],
)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_control_inputs_have_the_type_and_values_of_the_configuration(
    load: Load, http: Client, strategy: str, values: str, dtype: str, false: Any, true: Any
) -> None:
    named = [control(kind, kind, values) for kind in ("START", "END")]
    model = load(TELLING, sequence_config(*named, strategy=STRATEGIES[strategy]))
    first, last = ask(http, model, 3, 0, start=True), ask(http, model, 3, 0, end=True)
    assert (first["inputs"]["START"], first["inputs"]["END"]) == ([dtype, [[true]]], [dtype, [[false]]])
    assert (last["inputs"]["START"], last["inputs"]["END"]) == ([dtype, [[false]]], [dtype, [[true]]])


@pytest.mark.parametrize(
    ("data_type", "dtype"),
    [("UINT64", "uint64"), ("INT64", "int64"), ("UINT32", "uint32"), ("INT32", "int32")],
)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_model_is_told_the_correlation_id(
    load: Load, client: Client, strategy: str, data_type: str, dtype: str
) -> None:
    named = control("CORRID", "CORRID", f"data_type: TYPE_{data_type}")
    model = load(TELLING, sequence_config(*BOOLS[:2], named, strategy=STRATEGIES[strategy]))
    told = ask(client, model, 1 << 30, 0, start=True, end=True)
    assert told["inputs"]["CORRID"] == [dtype, [[1 << 30]]]
    assert told["correlation_id"] == 1 << 30


def test_a_correlation_id_may_need_all_64_bits(load: Load, http: Client) -> None:
    """tritonclient's gRPC has 63 of them."""
    model = load(TELLING, sequence_config(*BOOLS[:2], control("CORRID", "CORRID", "data_type: TYPE_UINT64")))
    largest = (1 << 64) - 1
    told = ask(http, model, largest, 0, start=True, end=True)
    assert told["inputs"]["CORRID"] == ["uint64", [[largest]]]
    assert told["correlation_id"] == largest


@pytest.mark.differs("text-correlation-control")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_correlation_id_may_be_text(load: Load, client: Client, strategy: str) -> None:
    named = control("CORRID", "CORRID", "data_type: TYPE_STRING")
    model = load(TELLING, sequence_config(*BOOLS[:2], named, strategy=STRATEGIES[strategy]))
    for start, end in ((True, False), (False, True)):
        told = ask(client, model, "séquence", 0, start, end)
        assert told["inputs"]["CORRID"] == ["object", [["séquence"]]]
        assert told["correlation_id"] == "séquence"


@pytest.mark.differs("text-correlation-control")
def test_a_correlation_id_that_is_text_may_be_long_and_beside_others(load: Load, http: Client) -> None:
    """Core fills the places of the others with nobody's, and the rest of its buffers with anything."""
    model = load(TELLING, sequence_config(*BOOLS, control("CORRID", "CORRID", "data_type: TYPE_STRING")))
    names = ("x" * 128, "x" * 127, "x")
    for start in (True, False):
        for name in names:
            told = ask(http, model, name, 0, start)
            assert told["inputs"]["CORRID"] == ["object", [[name]]]
            assert told["correlation_id"] == name


def test_a_direct_batch_is_filled_up_with_requests_of_nobody(load: Load, http: Client) -> None:
    """A sequence keeps its place in the batch; where its neighbour has no request, READY is false."""
    model = load(TELLING, sequence_config(*BOOLS))
    ask(http, model, 1, 0, start=True)
    before = ask(http, model, 2, 0, start=True)["nobody"]
    told = ask(http, model, 2, 1)
    assert told["inputs"]["READY"][1] == [[True]]
    assert told["batch"] == 2
    assert told["nobody"] == before + 1


def test_the_oldest_sequences_share_a_batch(load: Load, server: TritonServer) -> None:
    strategy = (
        "oldest { max_candidate_sequences: 4 preferred_batch_size: [ 4 ] "
        "max_queue_delay_microseconds: 3000000 }"
    )
    named = control("CORRID", "CORRID", "data_type: TYPE_UINT64")
    model = load(TELLING, sequence_config(*BOOLS, named, strategy=strategy))

    def one(sequence: int) -> dict[str, Any]:
        with Client(server) as client:
            return ask(client, model, sequence, sequence, start=True, end=True)

    sequences = (11, 12, 13, 14)
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(one, sequences))
    assert max(seen["batch"] for seen in told) > 1
    assert [seen["inputs"]["CORRID"][1] for seen in told] == [[[sequence]] for sequence in sequences]
    assert [seen["inputs"]["IN"][1] for seen in told] == [[[sequence]] for sequence in sequences]


def test_control_inputs_without_a_batch_dimension(load: Load, http: Client) -> None:
    model = load(TELLING, sequence_config(*BOOLS[:2], max_batch_size=0))
    got = http.infer(model, {"IN": np.array([1], np.int32)}, sequence_id=1, sequence_start=True)
    assert controls(json.loads(got["ANSWER"].item())) == {"START": [True], "END": [False]}


def test_a_sequence_that_was_not_begun_is_refused(load: Load, client: Client) -> None:
    model = load(TELLING, sequence_config(*BOOLS[:2]))
    error = client.error(model, {"IN": np.array([[1]], np.int32)}, sequence_id=9)
    assert error.startswith(
        f"inference request for sequence 9 to model '{model}' must specify the START flag on the first"
    )
