"""What models do with arrays: keep inputs, change them, hand out views and the same array again.

Each of these would show wrong numbers if memory that is shared with the server were used again too early.
"""

from __future__ import annotations

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, identity_config
from serving.types import Load

SMALL = 10
# Above the size from which inputs are views on shared memory.
LARGE = 20_000
SIZES = (SMALL, LARGE)

HEAD = """
import numpy as np
import threading
import triton_python_backend_utils as pb_utils


def answer(**arrays):
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in arrays.items()])


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request.inputs()[0]) for request in requests]
"""


def filled(size: int, number: int) -> np.ndarray:
    return np.full(size, number, np.int32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kept", ["tensor.as_numpy()", "tensor", "tensor.as_numpy()[::2]"])
def test_inputs_that_a_model_keeps_stay_as_they_were(load: Load, http: Client, size: int, kept: str) -> None:
    """The model keeps some of thousands of inputs, and looks at them all at every request."""
    model = load(
        HEAD
        + f"""
    kept = []
    wrong = 0

    def one(self, tensor):
        number = int(tensor.as_numpy()[0]) if {kept!r} != "tensor" or self.kept == [] else None
        for before, one in self.kept:
            array = one.as_numpy() if hasattr(one, "as_numpy") else one
            self.wrong += bool((array != before).any())
        if len(self.kept) < 40:
            self.kept.append((int(tensor.as_numpy()[0]), {kept}))
        elif number is not None and number % 50 == 0:
            self.kept.pop(0)
        return answer(OUT=np.array([self.wrong, len(self.kept)], np.int32))
""",
        identity_config("INT32"),
    )
    for number in range(1500):
        wrong, _ = http.infer(model, {"IN": filled(size, number)})["OUT"]
        assert wrong == 0, f"after {number} requests"


@pytest.mark.parametrize("size", SIZES)
def test_a_kept_tensor_gives_its_array_later(load: Load, http: Client, size: int) -> None:
    """as_numpy() is first called when many other requests have come and gone."""
    model = load(
        HEAD
        + """
    kept = None
    count = 0

    def one(self, tensor):
        self.count += 1
        if self.kept is None:
            self.kept = tensor
        if self.count < 300:
            return answer(OUT=np.array([self.count], np.int32))
        array = self.kept.as_numpy()
        self.kept, self.count = None, 0
        return answer(OUT=array)
""",
        identity_config("INT32"),
    )
    for round_ in range(3):
        for number in range(299):
            http.infer(model, {"IN": filled(size, 1000 * round_ + number)})
        got = http.infer(model, {"IN": filled(size, -1)})["OUT"]
        assert np.array_equal(got, filled(size, 1000 * round_))


@pytest.mark.parametrize("size", SIZES)
def test_a_model_may_change_its_inputs_in_place(load: Load, client: Client, size: int) -> None:
    model = load(
        HEAD
        + """
    def one(self, tensor):
        array = tensor.as_numpy()
        array += 1
        array[-1] = -5
        assert tensor.as_numpy() is array
        return answer(OUT=array)
""",
        identity_config("INT32"),
    )
    for number in range(20):
        want = filled(size, number + 1)
        want[-1] = -5
        assert np.array_equal(client.infer(model, {"IN": filled(size, number)})["OUT"], want)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param("array[::2]", lambda a: a[::2], id="every second"),
        pytest.param("array[::-1]", lambda a: a[::-1], id="backwards"),
        pytest.param("array[3:]", lambda a: a[3:], id="without its start"),
        pytest.param("array[:-1]", lambda a: a[:-1], id="without its end"),
        pytest.param("array.reshape(2, -1)", lambda a: a.reshape(2, -1), id="reshaped"),
        pytest.param("array.reshape(2, -1).T", lambda a: a.reshape(2, -1).T, id="transposed"),
        pytest.param(
            "np.asfortranarray(array.reshape(2, -1))", lambda a: a.reshape(2, -1), id="in Fortran's order"
        ),
        pytest.param("array.view(np.uint16)", lambda a: a.view(np.uint16), id="seen as another type"),
        pytest.param(
            "np.broadcast_to(array[:1], (3, 4))", lambda a: np.broadcast_to(a[:1], (3, 4)), id="broadcast"
        ),
    ],
)
def test_views_of_an_input_go_out_as_they_look(
    load: Load, http: Client, size: int, expression: str, expected: object
) -> None:
    want = expected(np.arange(size, dtype=np.int32))  # type: ignore[operator]
    data_type = "UINT16" if want.dtype == np.uint16 else "INT32"
    model = load(
        HEAD
        + f"""
    def one(self, tensor):
        array = tensor.as_numpy()
        return answer(OUT={expression})
""",
        config({"IN": ("INT32", [-1])}, {"OUT": (data_type, [-1] * want.ndim)}),
    )
    for _ in range(2):
        got = http.infer(model, {"IN": np.arange(size, dtype=np.int32)})["OUT"]
        assert np.array_equal(got, want)


@pytest.mark.parametrize("size", SIZES)
def test_an_input_tensor_may_itself_be_the_output(load: Load, client: Client, size: int) -> None:
    model = load(
        HEAD.replace(
            "[self.one(request.inputs()[0]) for request in requests]",
            "[pb_utils.InferenceResponse(request.inputs()) for request in requests]",
        ),
        config({"SAME": ("INT32", [-1])}, {"SAME": ("INT32", [-1])}),
    )
    for number in range(20):
        got = client.infer(model, {"SAME": filled(size, number)})["SAME"]
        assert np.array_equal(got, filled(size, number))


@pytest.mark.parametrize("size", SIZES)
def test_one_array_may_be_several_outputs(load: Load, client: Client, size: int) -> None:
    model = load(
        HEAD
        + """
    def one(self, tensor):
        array = tensor.as_numpy()
        twice = array * 2
        return answer(A=array, B=array, C=twice, D=twice, E=array[1:])
""",
        config({"IN": ("INT32", [-1])}, {name: ("INT32", [-1]) for name in "ABCDE"}),
    )
    for number in range(10):
        got = client.infer(model, {"IN": filled(size, number)})
        assert all(np.array_equal(got[name], filled(size, number)) for name in "AB")
        assert all(np.array_equal(got[name], filled(size, 2 * number)) for name in "CD")
        assert np.array_equal(got["E"], filled(size - 1, number))


def test_a_cached_output_is_sent_as_it_is_at_one_moment(load: Load, http: Client) -> None:
    """A thread of the model writes to all of it all the time, and holds the GIL while it does."""
    model = load(
        HEAD
        + f"""
    def initialize(self, args):
        self.array = np.zeros({LARGE}, np.int32)
        threading.Thread(target=self.write, daemon=True).start()

    def write(self):
        patterns = [np.full({LARGE}, number, np.int32).tobytes() for number in range(100)]
        bytes_of_array = memoryview(self.array).cast("B")
        while True:
            for pattern in patterns:
                bytes_of_array[:] = pattern

    def one(self, tensor):
        return answer(OUT=self.array)
""",
        identity_config("INT32"),
    )
    seen = set()
    for _ in range(150):
        got = http.infer(model, {"IN": filled(1, 0)})["OUT"]
        assert (got == got[0]).all()
        seen.add(int(got[0]))
    assert len(seen) > 1, "the thread has not run"


@pytest.mark.parametrize("size", SIZES)
def test_an_output_buffer_that_is_used_again_next_time_is_safe(load: Load, http: Client, size: int) -> None:
    """The answer that was sent does not change with it."""
    model = load(
        HEAD
        + f"""
    buffer = np.zeros({size}, np.int32)

    def one(self, tensor):
        self.buffer[:] = tensor.as_numpy()[0]
        return answer(OUT=self.buffer)
""",
        identity_config("INT32"),
    )
    for number in range(300):
        got = http.infer(model, {"IN": filled(1, number)})["OUT"]
        assert np.array_equal(got, filled(size, number))


def test_an_input_kept_and_returned_later_is_still_right(load: Load, http: Client) -> None:
    """Each answer is the input of the request before."""
    model = load(
        HEAD
        + """
    before = None

    def one(self, tensor):
        array, self.before = self.before, tensor.as_numpy()
        return answer(OUT=self.before if array is None else array)
""",
        identity_config("INT32"),
    )
    http.infer(model, {"IN": filled(LARGE, 0)})
    for number in range(1, 500):
        size = LARGE + number % 7 * 1000
        got = http.infer(model, {"IN": filled(size, number)})["OUT"]
        assert (got == number - 1).all()


def test_an_input_tensor_kept_and_returned_later_is_still_right(load: Load, http: Client) -> None:
    model = load(
        HEAD
        + """
    before = None

    def one(self, tensor):
        first = self.before or tensor
        self.before = tensor
        return pb_utils.InferenceResponse([first])
""",
        config({"SAME": ("INT32", [-1])}, {"SAME": ("INT32", [-1])}),
    )
    http.infer(model, {"SAME": filled(LARGE, 0)})
    for number in range(1, 500):
        got = http.infer(model, {"SAME": filled(LARGE + number % 7 * 1000, number)})["SAME"]
        assert (got == number - 1).all()


def test_inputs_dropped_on_another_thread_are_given_back(load: Load, http: Client) -> None:
    """Views die on a thread of the model, long after their requests; the memory suffices all the same."""
    model = load(
        HEAD
        + """
    def initialize(self, args):
        import queue

        self.queue = queue.Queue()
        threading.Thread(target=self.drop, daemon=True).start()

    def drop(self):
        while True:
            self.queue.get().sum()

    def one(self, tensor):
        self.queue.put(tensor.as_numpy())
        return answer(OUT=tensor.as_numpy()[:1])
""",
        identity_config("INT32"),
    )
    for number in range(400):
        assert http.infer(model, {"IN": filled(1 << 18, number)})["OUT"].tolist() == [number]
