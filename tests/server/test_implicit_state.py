"""Implicit state: outputs that core keeps for the next request of a sequence, without the client."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, write_model
from serving.types import Load

STRATEGIES = {"direct": "direct { }", "oldest": "oldest { max_candidate_sequences: 4 }"}
IDLE = "max_sequence_idle_microseconds: 600000000"
START = """control_input [
  { name: "START" control [ { kind: CONTROL_SEQUENCE_START bool_false_true: [ false, true ] } ] },
  { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY bool_false_true: [ false, true ] } ] }
]"""
# Adds each input to what it was given as state, and knows nothing of sequences.
SUMMING = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request) for request in requests]

    def one(self, request):
        given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        if not given["READY"].all():
            return pb_utils.InferenceResponse([])
        total = given["SUM_IN"] + given["IN"]
        if total.ravel()[0] < 0:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("below zero"))
        outputs = [pb_utils.Tensor("OUT", total), pb_utils.Tensor("SUM_OUT", total)]
        return pb_utils.InferenceResponse(outputs if given["IN"].ravel()[0] != 1313 else outputs[:1])
"""
# The state grows with each request.
COLLECTING = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request) for request in requests]

    def one(self, request):
        given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        if not given["READY"].all():
            return pb_utils.InferenceResponse([])
        if given["START"].all():
            seen = given["IN"]
        else:
            seen = np.concatenate([given["SEEN_IN"], given["IN"]], axis=-1)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, seen) for name in ("OUT", "SEEN_OUT")])
"""


def state(
    name: str = "SUM", data_type: str = "INT32", dims: str = "[ 1 ]", initial: str = "zero_data: true"
) -> str:
    start = f'initial_state: {{ name: "start" data_type: TYPE_{data_type} dims: [ 1 ] {initial} }}'
    return f"""state [ {{
  input_name: "{name}_IN" output_name: "{name}_OUT" data_type: TYPE_{data_type} dims: {dims} {start}
}} ]"""


def summing_config(
    strategy: str = "direct { }",
    max_batch_size: int = 4,
    outputs: tuple[str, ...] = ("OUT",),
    initial: str = "zero_data: true",
) -> str:
    return config(
        {"IN": ("INT32", [1])},
        {name: ("INT32", [1]) for name in outputs},
        max_batch_size=max_batch_size,
        more=f"sequence_batching {{ {IDLE} {strategy} {START} {state(initial=initial)} }}",
    )


def add(
    client: Client, model: str, sequence: int, value: int, start: bool = False, **options: object
) -> dict[str, object]:
    got = client.infer(
        model,
        {"IN": np.array([[value]], np.int32)},
        sequence_id=sequence,
        sequence_start=start,
        **options,
    )
    return {name: array.ravel().tolist() for name, array in got.items()}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_state_output_is_the_state_input_of_the_next_request(
    load: Load, client: Client, strategy: str
) -> None:
    model = load(SUMMING, summing_config(STRATEGIES[strategy]))
    sums = {1: 0, 2: 0, 3: 0}
    for step in range(5):
        for sequence in sums:
            sums[sequence] += 10 * sequence + step
            got = add(client, model, sequence, 10 * sequence + step, start=step == 0)
            assert got == {"OUT": [sums[sequence]]}


def test_it_works_without_a_batch_dimension(load: Load, http: Client) -> None:
    model = load(SUMMING, summing_config(max_batch_size=0))
    for step, total in ((0, 5), (1, 10)):
        got = http.infer(model, {"IN": np.array([5], np.int32)}, sequence_id=1, sequence_start=step == 0)
        assert got["OUT"].tolist() == [total]


def test_each_sequence_starts_anew(load: Load, http: Client) -> None:
    model = load(SUMMING, summing_config())
    assert [add(http, model, 1, 5, start=True) for _ in range(3)] == [{"OUT": [5]}] * 3


def test_it_starts_with_what_a_file_says(repository: Path, http: Client, model_name: str) -> None:
    folder = write_model(repository, model_name, SUMMING, summing_config(initial='data_file: "hundred"'))
    (folder / "initial_state").mkdir()
    (folder / "initial_state" / "hundred").write_bytes(np.array([100], np.int32).tobytes())
    http.load(model_name)
    assert add(http, model_name, 1, 5, start=True) == {"OUT": [105]}
    assert add(http, model_name, 1, 5) == {"OUT": [110]}


def test_a_state_is_an_output_as_well_where_the_configuration_says_so(load: Load, client: Client) -> None:
    model = load(SUMMING, summing_config(outputs=("OUT", "SUM_OUT")))
    assert add(client, model, 1, 5, start=True) == {"OUT": [5], "SUM_OUT": [5]}
    assert add(client, model, 1, 5, outputs=["SUM_OUT"]) == {"SUM_OUT": [10]}
    assert add(client, model, 1, 5, outputs=["OUT"]) == {"OUT": [15]}
    assert add(client, model, 1, 5) == {"OUT": [20], "SUM_OUT": [20]}


def test_an_error_leaves_the_state_as_it_was(load: Load, http: Client) -> None:
    model = load(SUMMING, summing_config())
    add(http, model, 1, 5, start=True)
    assert http.error(model, {"IN": np.array([[-6]], np.int32)}, sequence_id=1) == "below zero"
    assert add(http, model, 1, 1) == {"OUT": [6]}


def test_a_state_that_is_not_given_stays(load: Load, http: Client) -> None:
    model = load(SUMMING, summing_config())
    add(http, model, 1, 5, start=True)
    assert add(http, model, 1, 1313) == {"OUT": [1318]}  # no SUM_OUT, by the model's own rule
    assert add(http, model, 1, 1) == {"OUT": [6]}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("data_type", "values"),
    [("INT32", np.arange(7, dtype=np.int32)), ("STRING", np.array([b"a", b"", b"long" * 999], np.object_))],
    ids=["numbers", "strings"],
)
def test_a_state_may_change_its_size(
    load: Load, client: Client, data_type: str, values: np.ndarray, strategy: str
) -> None:
    model = load(
        COLLECTING,
        config(
            {"IN": (data_type, [1])},
            {"OUT": (data_type, [-1])},
            max_batch_size=4,
            more=f"sequence_batching {{ {IDLE} {STRATEGIES[strategy]} {START} "
            f"{state('SEEN', data_type, '[ -1 ]')} }}",
        ),
    )
    for number in range(len(values)):
        got = client.infer(
            model, {"IN": values[None, number : number + 1]}, sequence_id=1, sequence_start=number == 0
        )
        assert got["OUT"][0].tolist() == values[: number + 1].tolist()


def test_large_states(load: Load, http: Client) -> None:
    """Larger than what is copied in one go, and passed on from a block that nobody copied."""
    model = load(
        COLLECTING.replace('np.concatenate([given["SEEN_IN"], given["IN"]], axis=-1)', 'given["SEEN_IN"]'),
        config(
            {"IN": ("INT32", [-1])},
            {"OUT": ("INT32", [-1])},
            max_batch_size=1,
            more=f"sequence_batching {{ {IDLE} {START} {state('SEEN', 'INT32', '[ -1 ]')} }}",
        ),
    )
    values = np.arange(3 << 20, dtype=np.int32)[None]
    for number in range(3):
        sent = values if number == 0 else np.zeros((1, 1), np.int32)
        got = http.infer(model, {"IN": sent}, sequence_id=1, sequence_start=number == 0)
        assert np.array_equal(got["OUT"], values)
