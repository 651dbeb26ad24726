"""BYTES tensors: from clients to models as bytes objects, and from models to clients by the rules."""

from __future__ import annotations

import json
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, identity_config, model_code
from serving.server import TritonServer
from serving.types import Load

IDENTITY = model_code("identity")  # decodes and encodes
PASSES_ON = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse(request.inputs()) for request in requests]
"""
HEAD = """
import numpy as np
import threading
import triton_python_backend_utils as pb_utils


def answer(**arrays):
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in arrays.items()])


def objects(*elements):
    array = np.empty(len(elements), object)
    for i, element in enumerate(elements):
        array[i] = element
    return array


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request.inputs()[0]) for request in requests]
"""
ELEMENTS = [
    b"one",
    b"",
    b"\0",
    b"a\0b\0",
    b"\xff\xfe\x80",
    "zw\N{LATIN SMALL LETTER O WITH DIAERESIS}lf".encode(),
]
STRINGS = identity_config("STRING")


def texts(*elements: bytes) -> np.ndarray:
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    return array


def many(count: int) -> np.ndarray:
    """More than what is copied out of shared memory at once, in elements of many lengths."""
    return texts(*(b"%d" % i * (i % 7) for i in range(count)))


SENT = {
    "several": texts(*ELEMENTS),
    "one": texts(b"x"),
    "one empty": texts(b""),
    "two dimensions": texts(*ELEMENTS).reshape(2, 3),
    "large elements": texts(bytes(range(256)) * 400, b"", b"y" * 100_000),
    "many": many(20_000),
    "none": np.empty((0,), np.object_),
    "none of three dimensions": np.empty((3, 0, 2), np.object_),
}


def assert_same(got: np.ndarray, sent: np.ndarray) -> None:
    assert got.shape == sent.shape
    assert got.ravel().tolist() == sent.ravel().tolist()


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_strings_come_back_byte_for_byte(load: Load, client: Client, sent: np.ndarray) -> None:
    model = load(IDENTITY, identity_config("STRING", [-1] * sent.ndim))
    for _ in range(2):
        assert_same(client.infer(model, {"IN": sent})["OUT"], sent)


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_a_bytes_input_that_nobody_looked_at_passes_through(
    load: Load, client: Client, sent: np.ndarray
) -> None:
    tensors = {"SAME": ("STRING", [-1] * sent.ndim)}
    model = load(PASSES_ON, config(tensors, tensors))
    for _ in range(2):
        assert_same(client.infer(model, {"SAME": sent})["SAME"], sent)


def test_a_model_sees_writable_arrays_of_bytes(load: Load, client: Client) -> None:
    model = load(
        HEAD
        + """
    def one(self, tensor):
        array = tensor.as_numpy()
        assert tensor.as_numpy() is array
        assert array.dtype == np.object_ and array.flags.writeable, array.flags
        assert list(array.shape) == tensor.shape() == [2, 3]
        return answer(OUT=objects(*(type(element).__name__ for element in array.ravel())))
""",
        config({"IN": ("STRING", [-1, -1])}, {"OUT": ("STRING", [-1])}),
    )
    got = client.infer(model, {"IN": texts(*ELEMENTS).reshape(2, 3)})["OUT"]
    assert got.tolist() == [b"bytes"] * 6


@pytest.mark.parametrize("output", ["array", pytest.param("tensor", marks=pytest.mark.differs("snapshot"))])
def test_a_bytes_input_that_was_changed_in_place_goes_out_changed(
    load: Load, client: Client, output: str
) -> None:
    given = {"array": "answer(IN=tensor.as_numpy())", "tensor": "pb_utils.InferenceResponse([tensor])"}
    model = load(
        HEAD
        + f"""
    def one(self, tensor):
        tensor.as_numpy()[1] = "changed"
        return {given[output]}
""",
        config({"IN": ("STRING", [-1])}, {"IN": ("STRING", [-1])}),
    )
    for _ in range(2):
        got = client.infer(model, {"IN": texts(b"a", b"b", b"c")})["IN"]
        assert got.tolist() == [b"a", b"changed", b"c"]


@pytest.mark.parametrize(
    ("expression", "want"),
    [
        pytest.param(
            'objects(b"raw\\xff", np.bytes_(b"np"), bytearray(b"array"))',
            [b"raw\xff", b"np", b"array"],
            id="bytes of every kind",
            marks=pytest.mark.differs("np-bytes"),
        ),
        pytest.param(
            'objects("text", "\\u03c0", np.str_("np"), 42, None, 1.5)',
            [b"text", "\N{GREEK SMALL LETTER PI}".encode(), b"np", b"42", b"None", b"1.5"],
            id="texts of other objects",
        ),
        pytest.param('np.array([b"a\\0b\\0", b"", b"123456"])', [b"a\0b", b"", b"123456"], id="S<n>"),
        pytest.param('np.array([b"ab", b"c", b"d", b"e"])[::2]', [b"ab", b"d"], id="every second of S<n>"),
        pytest.param('objects(b"ab", b"c", b"d", 4)[::-1]', [b"4", b"d", b"c", b"ab"], id="backwards"),
        pytest.param(
            'objects(b"1", b"2", b"3", b"4").reshape(2, 2).T', [[b"1", b"3"], [b"2", b"4"]], id="transposed"
        ),
        pytest.param("np.empty((0,), object)", [], id="nothing"),
        pytest.param("np.empty((2, 0), 'S3')", [[], []], id="nothing of S<n>"),
    ],
)
def test_what_a_model_makes_goes_out_by_the_rules(
    load: Load, client: Client, expression: str, want: list[Any]
) -> None:
    model = load(
        HEAD
        + f"""
    def one(self, tensor):
        return answer(OUT={expression})
""",
        config({"IN": ("INT32", [1])}, {"OUT": ("STRING", [-1] * np.ndim(want))}),
    )
    assert client.infer(model, {"IN": np.zeros(1, np.int32)})["OUT"].tolist() == want


@pytest.mark.differs("snapshot")
def test_a_tensor_that_is_used_again_goes_out_as_it_is_each_time(load: Load, client: Client) -> None:
    """And not as it was when it went out first."""
    model = load(
        HEAD
        + """
    def initialize(self, args):
        self.numbers = pb_utils.Tensor("NUMBERS", np.zeros(2, np.int32))
        self.strings = pb_utils.Tensor("STRINGS", objects("a", "b"))

    def one(self, tensor):
        self.numbers.as_numpy()[1] += 1
        self.strings.as_numpy()[1] = str(self.numbers.as_numpy()[1])
        return pb_utils.InferenceResponse([self.numbers, self.strings])
""",
        config({"IN": ("INT32", [1])}, {"NUMBERS": ("INT32", [2]), "STRINGS": ("STRING", [2])}),
    )
    for count in range(1, 4):
        got = client.infer(model, {"IN": np.zeros(1, np.int32)})
        assert got["NUMBERS"].tolist() == [0, count]
        assert got["STRINGS"].tolist() == [b"a", b"%d" % count]


@pytest.mark.parametrize("kept", ["tensor", "tensor.as_numpy()"])
def test_strings_that_a_model_keeps_stay_as_they_were(load: Load, http: Client, kept: str) -> None:
    model = load(
        HEAD
        + f"""
    kept = []

    def one(self, tensor):
        if len(self.kept) < 20:
            self.kept.append({kept})
            return answer(OUT=objects())
        first = self.kept.pop(0)
        return answer(OUT=first if isinstance(first, np.ndarray) else first.as_numpy())
""",
        STRINGS,
    )
    for number in range(20):
        assert http.infer(model, {"IN": texts(b"%d" % number, b"x" * 20_000)})["OUT"].size == 0
    for number in range(20):
        got = http.infer(model, {"IN": texts(b"other")})["OUT"]
        assert got.tolist() == [b"%d" % number, b"x" * 20_000]
        http.infer(model, {"IN": texts(b"another")})


@pytest.mark.parametrize("element", ["b'fixed'", "Number()"], ids=["bytes", "objects with a str()"])
def test_an_array_that_a_thread_changes_goes_out_as_it_is_at_one_moment(
    load: Load, http: Client, element: str
) -> None:
    model = load(
        HEAD.replace(
            "class TritonPythonModel:",
            """class Number:
    number = 0

    def __str__(self):
        return str(self.number)


class TritonPythonModel:""",
        )
        + f"""
    def initialize(self, args):
        self.array = np.full(2000, {element}, object)
        threading.Thread(target=self.write, daemon=True).start()

    def write(self):
        while True:
            for number in range(100):
                one = Number()
                one.number = number
                # What was in the array before is gone with this: the array held its only references.
                self.array.fill(one if {element!r} == "Number()" else b"%d" % number)

    def one(self, tensor):
        return answer(OUT=self.array)
""",
        STRINGS,
    )
    seen = set()
    for _ in range(100):
        got = http.infer(model, {"IN": texts(b"")})["OUT"]
        assert (got == got[0]).all()
        seen.add(got[0])
    assert len(seen) > 1, "the thread has not run"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_each_request_of_a_batch_gets_its_own_strings(
    load: Load, server: TritonServer, protocol: str
) -> None:
    model = load(
        HEAD.replace("self.one(request.inputs()[0])", "self.one(request.inputs()[0], len(requests))")
        + """
    def one(self, tensor, count):
        array = tensor.as_numpy()
        return answer(OUT=array, COUNT=np.full((len(array), 1), count, np.int32))
""",
        config(
            {"IN": ("STRING", [-1])},
            {"OUT": ("STRING", [-1]), "COUNT": ("INT32", [1])},
            max_batch_size=16,
            more="dynamic_batching { max_queue_delay_microseconds: 50000 }",
        ),
    )
    clients = 6
    start = threading.Barrier(clients)

    def ask(number: int) -> int:
        largest = 0
        with Client(server, protocol) as client:
            start.wait()
            for i in range(10):
                sent = texts(*(b"%d/%d/%d" % (number, i, j) * (1 + 900 * (i % 2)) for j in range(4)))
                got = client.infer(model, {"IN": sent.reshape(2, 2)})
                assert_same(got["OUT"], sent.reshape(2, 2))
                largest = max(largest, int(got["COUNT"].max()))
        return largest

    with ThreadPoolExecutor(clients) as pool:
        assert max(pool.map(ask, range(clients))) > 1, "no two requests were in one batch"


def test_a_model_may_have_scalar_strings(load: Load, client: Client) -> None:
    scalar = '[ {{ name: "{}" data_type: TYPE_STRING dims: [ 1 ] reshape {{ shape: [ ] }} }} ]'
    code = IDENTITY.replace(
        "    def execute(self, requests):",
        "    def execute(self, requests):\n        assert requests[0].inputs()[0].as_numpy().shape == (2,)",
    )
    tensors = f"input {scalar.format('IN')}\noutput {scalar.format('OUT')}"
    model = load(code, config(max_batch_size=8, more=tensors))
    sent = texts(b"a", b"").reshape(2, 1)
    assert_same(client.infer(model, {"IN": sent})["OUT"], sent)


def test_an_array_without_dimensions_is_one_string(load: Load, client: Client) -> None:
    """Only a model can make one: no configuration without a batch dimension describes it."""
    model = load(
        HEAD
        + """
    def one(self, tensor):
        return answer(OUT=np.array(b"alone", object), FIXED=np.array(b"fixed"))
""",
        config({"IN": ("INT32", [1])}, {"OUT": ("STRING", [1]), "FIXED": ("STRING", [1])}),
    )
    got = client.infer(model, {"IN": np.zeros(1, np.int32)})
    assert (got["OUT"].tolist(), got["FIXED"].tolist()) == (b"alone", b"fixed")


TWO_OUTPUTS = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            text = pb_utils.get_input_tensor_by_name(request, "TEXT")
            number = pb_utils.get_input_tensor_by_name(request, "NUMBER")
            both = f"{None if text is None else text.as_numpy()[0]} {number.as_numpy()[0]}"
            outputs = [pb_utils.Tensor("TEXTS", np.array([both], object)), number]
            responses.append(pb_utils.InferenceResponse(outputs))
        return responses
"""


def test_strings_travel_beside_numbers_and_may_be_left_out(load: Load, client: Client) -> None:
    model = load(
        TWO_OUTPUTS,
        config(
            {"TEXT": ("STRING", [1]), "NUMBER": ("INT32", [1])},
            {"TEXTS": ("STRING", [1]), "NUMBER": ("INT32", [1])},
            optional=["TEXT"],
        ),
    )
    number = {"NUMBER": np.array([5], np.int32)}
    assert client.infer(model, {**number, "TEXT": texts(b"a")})["TEXTS"].tolist() == [b"b'a' 5"]
    assert client.infer(model, number)["TEXTS"].tolist() == [b"None 5"]
    assert list(client.infer(model, number, ["TEXTS"])) == ["TEXTS"]
    assert {name: array.tolist() for name, array in client.infer(model, number, ["NUMBER"]).items()} == {
        "NUMBER": [5]
    }


def test_strings_that_arrive_and_leave_in_json_are_the_same(load: Load, server: TritonServer) -> None:
    model = load(IDENTITY, identity_config("STRING", [-1, -1]))
    data = ["a", "", "zw\N{LATIN SMALL LETTER O WITH DIAERESIS}lf", "d"]
    body = {"inputs": [{"name": "IN", "shape": [2, 2], "datatype": "BYTES", "data": data}]}
    request = urllib.request.Request(
        f"http://{server.http_url}/v2/models/{model}/infer", json.dumps(body).encode()
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        (output,) = json.loads(answer.read())["outputs"]
    assert output == {"name": "OUT", "datatype": "BYTES", "shape": [2, 2], "data": data}


def element(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "little") + payload


INCOMPLETE = element(b"a") + element(b"abcd")[:-1]
# What core itself does not notice goes on to the backend, with its own words.
INCOMPLETE_TEXT = (
    "incomplete string data for inference input 'IN', expecting string of length 4 but only 3 bytes available"
)
MALFORMED = {
    "too many": (element(b"a") * 3, "unexpected number of string elements 3 for inference input 'IN'"),
    "too few": (element(b"a"), "expected 2 string"),
    "empty": (b"", "expected 2 string"),
    "incomplete": (INCOMPLETE, INCOMPLETE_TEXT),
    "far too long": (element(b"a") + b"\xff\xff\xff\xff", "but only 0 bytes available"),
    "without a whole length": (element(b"a") + b"\1\0", "incomplete string length indicator"),
}


@pytest.mark.parametrize(("payload", "text"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_bytes_input_is_an_error_of_its_request(
    load: Load, client: Client, payload: bytes, text: str
) -> None:
    model = load(IDENTITY, STRINGS)
    good = texts(b"a", b"b")

    assert text in client.error(model, {"IN": client.tensor_of("IN", "BYTES", [2], payload)})

    assert_same(client.infer(model, {"IN": good})["OUT"], good)


def test_the_error_of_a_malformed_bytes_input_has_this_text_alone(load: Load, client: Client) -> None:
    """And the code of a request that is wrong."""
    model = load(IDENTITY, STRINGS)
    failure = client.failure(model, {"IN": client.tensor_of("IN", "BYTES", [2], INCOMPLETE)})
    assert failure.status() in ("400", "StatusCode.INVALID_ARGUMENT")
    assert failure.message() == INCOMPLETE_TEXT


@pytest.mark.differs("malformed-in-batch")
def test_a_malformed_request_does_not_harm_the_others_of_its_batch(load: Load, server: TritonServer) -> None:
    batches = "dynamic_batching { max_queue_delay_microseconds: 100000 }"
    model = load(IDENTITY, identity_config("STRING", max_batch_size=16, more=batches))
    clients = 6
    start = threading.Barrier(clients)

    def ask(number: int) -> None:
        with Client(server, "grpc") as client:
            start.wait()
            for i in range(5):
                sent = texts(b"%d" % number, b"%d" % i).reshape(1, 2)
                if number % 2 == 0:
                    assert_same(client.infer(model, {"IN": sent})["OUT"], sent)
                else:
                    bad = client.tensor_of("IN", "BYTES", [1, 2], INCOMPLETE)
                    assert INCOMPLETE_TEXT in client.error(model, {"IN": bad})

    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(ask, number) for number in range(clients)]:
            done.result()


@pytest.mark.parametrize(
    ("made", "text"),
    [("Unprintable()", "LookupError: has no text"), (r"'\ud800'", "UnicodeEncodeError")],
    ids=["str() raises", "surrogate"],
)
def test_an_element_that_has_no_text_is_an_error(load: Load, client: Client, made: str, text: str) -> None:
    model = load(
        HEAD.replace(
            "class TritonPythonModel:",
            """class Unprintable:
    def __str__(self):
        raise LookupError("has no text")


class TritonPythonModel:""",
        )
        + f"""
    def one(self, tensor):
        return answer(OUT=objects(b"fine", {made} if tensor.as_numpy()[0] == b"bad" else 1))
""",
        STRINGS,
    )
    assert text in client.error(model, {"IN": texts(b"bad")})
    assert client.infer(model, {"IN": texts(b"good")})["OUT"].tolist() == [b"fine", b"1"]
