"""Tensors of calls: they arrive as they were at the call, and their memory comes back.

The server of this module has little shared memory, so that a call that leaks some fails the next ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from serving.calls import CALLER_CONFIG, WAITING, ask, caller
from serving.client import Client
from serving.repository import config, identity_config, model_code
from serving.types import Load

IDENTITY = model_code("identity")
DATA_TYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
GROWTH = "Failed to increase the shared memory pool size"
MIB = 1 << 20
# Half of it, each way.
MEMORY = 96 * MIB


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    return {"settings": {"shm-max-byte-size": str(MEMORY)}}


@pytest.mark.parametrize("size", [1, 10, 4095, 4096, 4097, 20_000, 1 << 18, 4 * MIB])
def test_tensors_go_there_and_back(load: Load, http: Client, size: int) -> None:
    """Sizes around 16 KiB, from which arrays are views, and up to 16 MiB; in total more than fits at once."""
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller("""
            for number in range(12):
                sent = np.arange(told["size"], dtype=np.int32) + number
                got = call(child, {"IN": sent})["OUT"]
                assert got.dtype == np.int32 and got.shape == sent.shape
                assert np.array_equal(got, sent), number
            return "right"
        """),
        CALLER_CONFIG,
    )
    assert ask(http, model, child=child, size=size) == "right"


def test_every_data_type_goes_there_and_back(load: Load, http: Client) -> None:
    child = load(
        IDENTITY,
        config(
            {f"IN_{name}": (name, [-1, -1]) for name in DATA_TYPES},
            {f"OUT_{name}": (name, [-1, -1]) for name in DATA_TYPES},
        ),
    )
    model = load(
        caller("""
            for rows in (1, 50):
                sent = {
                    f"IN_{name}": (np.arange(rows * 20) % 2).astype(dtype).reshape(rows, 20)
                    for name, dtype in told["types"].items()
                }
                got = call(child, sent)
                for name, array in sent.items():
                    back = got["OUT" + name[2:]]
                    assert back.dtype == array.dtype, (name, back.dtype)
                    assert np.array_equal(back, array), name
            return len(sent)
        """),
        CALLER_CONFIG,
    )
    types = {name: np.dtype(dtype).name for name, dtype in DATA_TYPES.items()}
    assert ask(http, model, child=child, types=types) == len(DATA_TYPES)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty_tensors_go_there_and_back(load: Load, http: Client, shape: tuple[int, ...]) -> None:
    dims = [-1] * len(shape)
    child = load(
        IDENTITY,
        config(
            {"IN": ("FP32", dims), "IN2": ("INT32", [1])}, {"OUT": ("FP32", dims), "OUT2": ("INT32", [1])}
        ),
    )
    model = load(
        caller("""
            got = call(child, {"IN": np.zeros(told["shape"], np.float32), "IN2": ints(7)})
            return [got["OUT"].shape, got["OUT"].dtype.name, got["OUT2"].tolist()]
        """),
        CALLER_CONFIG,
    )
    assert ask(http, model, child=child, shape=shape) == [list(shape), "float32", [7]]


@pytest.mark.parametrize(
    "expression",
    [
        "array[::2]",
        "array[::-1]",
        "array.reshape(100, -1).T",
        "np.asfortranarray(array.reshape(100, -1))",
        "np.broadcast_to(array[:1], (3, 4))",
    ],
)
def test_arrays_go_out_as_they_look(load: Load, http: Client, expression: str) -> None:
    dims = [-1] if "::" in expression else [-1, -1]
    child = load(IDENTITY, identity_config("INT32", dims))
    model = load(
        caller(f"""
            array = np.arange(10_000, dtype=np.int32)
            sent = {expression}
            return bool(np.array_equal(call(child, {{"IN": sent}})["OUT"], sent))
        """),
        CALLER_CONFIG,
    )
    assert ask(http, model, child=child) is True


# --- what a model may do with the outputs of a call ---


@pytest.mark.parametrize("size", [10, 20_000])
def test_outputs_are_the_models_own(load: Load, http: Client, size: int) -> None:
    """They may be written to and kept; nothing that comes later changes them, and they change nothing."""
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            sent = np.full(told["size"], told["number"], np.int32)
            got = call(child, {"IN": sent})["OUT"]
            assert got.flags.writeable and (got == told["number"]).all()
            got += 1_000_000
            assert (sent == told["number"]).all()
            self.kept.append(got)
            return [int(array[0]) - 1_000_000 for array in self.kept if (array == array[0]).all()]
            """,
            "kept = []",
        ),
        CALLER_CONFIG,
    )
    for number in range(60):
        assert ask(http, model, child=child, size=size, number=number) == list(range(number + 1))


@pytest.mark.parametrize("dropped", ["at once", "later", "by another thread"])
def test_the_memory_of_outputs_comes_back(load: Load, http: Client, dropped: str) -> None:
    """Far more than fits at once."""
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            sent = np.full(told["size"], told["number"], np.int32)
            for _ in range(10):
                self.kept.append(call(child, {"IN": sent})["OUT"])
                if told["dropped"] == "at once":
                    self.kept.clear()
                elif told["dropped"] == "later":
                    del self.kept[:-3]
                else:
                    thread = threading.Thread(target=self.kept.clear)
                    thread.start()
                    thread.join()
            return all(int(array[0]) <= told["number"] for array in self.kept)
            """,
            "kept = []",
        ),
        CALLER_CONFIG,
    )
    for number in range(80):
        assert ask(http, model, child=child, size=MIB, dropped=dropped, number=number) is True


def test_outputs_may_be_answers_and_inputs_again(load: Load, http: Client) -> None:
    child = load(IDENTITY, config({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])}))
    model = load(
        f"""
import numpy as np
import triton_python_backend_utils as pb_utils


def call(tensor):
    inputs = [pb_utils.Tensor("IN", tensor.as_numpy()) if tensor.name() != "IN" else tensor]
    request = pb_utils.InferenceRequest(inputs=inputs, requested_output_names=["OUT"], model_name="{child}")
    return request.exec().output_tensors()[0]


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            tensor = request.inputs()[0]
            for _ in range(3):
                tensor = call(tensor)
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses
""",
        identity_config("INT32"),
    )
    for size in (0, 1, 5000, MIB):
        for number in range(5):
            sent = np.arange(size, dtype=np.int32) + number
            assert np.array_equal(http.infer(model, {"IN": sent})["OUT"], sent)


# --- memory that does not suffice ---


@pytest.mark.ours
def test_an_input_without_room_is_an_error_and_the_next_one_is_right(load: Load, http: Client) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller("""
            texts = []
            for _ in range(3):
                large = np.zeros(told["too_much"], np.int32)
                texts.append(text_of(request(child, {"IN": large}).exec()))
                assert call(child, {"IN": ints(1, 2)})["OUT"].tolist() == [1, 2]
                assert call(child, {"IN": np.ones(1 << 20, np.int32)})["OUT"].sum() == 1 << 20
            return texts
        """),
        CALLER_CONFIG,
    )
    texts = ask(http, model, child=child, too_much=MEMORY // 4)
    assert all(f"Model {child} - Error when running inference: {GROWTH} to " in text for text in texts), texts


@pytest.mark.ours
def test_an_answer_without_room_is_an_error_and_the_next_one_is_right(load: Load, http: Client) -> None:
    """Other outputs, which the model keeps, take the memory that the answer would need."""
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller("""
            texts = []
            for _ in range(3):
                sent = np.ones(7 << 20, np.int32)
                kept = call(child, {"IN": sent})["OUT"]
                texts.append(text_of(request(child, {"IN": sent}).exec()))
                assert call(child, {"IN": ints(1, 2)})["OUT"].tolist() == [1, 2]
                assert kept.sum() == 7 << 20
                del kept
                assert call(child, {"IN": sent})["OUT"].sum() == 7 << 20
            return texts
        """),
        CALLER_CONFIG,
    )
    texts = ask(http, model, child=child)
    assert all(GROWTH in text for text in texts), texts


@pytest.mark.ours
def test_not_even_room_for_an_error_is_an_error(load: Load, http: Client) -> None:
    """The model keeps outputs, of less and less, until nothing more fits; then it lets go of them."""
    child = load(IDENTITY, identity_config("STRING"))
    model = load(
        caller("""
            kept, texts, size = [], set(), 1 << 24
            while size >= 32:  # less than the text of an error
                response = request(child, {"IN": np.array([b"x" * size], object)}).exec()
                if response.has_error():
                    texts.add(response.error().message())
                    size //= 2
                else:
                    kept += response.output_tensors()  # strings that nobody reads stay where they are
            kept.clear()
            assert len(call(child, {"IN": np.array([b"x" * (1 << 24)], object)})["OUT"][0]) == 1 << 24
            return sorted(texts)
        """),
        CALLER_CONFIG,
    )
    texts = ask(http, model, child=child)
    assert all(GROWTH in text for text in texts), texts
    assert any("the server's side has no room for an answer of " in text for text in texts), texts


# --- tensors as they were at the call ---

# Fills the other model's only instance with a request, sends `tensor` behind it, writes to it, and lets go.
CHANGED_BEHIND = """
folder = os.path.join(told["repository"], child)
first = threading.Thread(target=call, args=(child, {"IN": ints(0)}))
first.start()
while not os.path.exists(folder + "/began"):
    threading.Event().wait(0.01)

tensor, array_of = GIVEN
sent, answers = threading.Event(), []

def send():
    sent.set()
    answers.append(arrays(request(child, {"IN": tensor}).exec())["OUT"].copy())

# From here on threads take turns only where one waits, so whoever is awake here has seen the call begin.
sys.setswitchinterval(1000)
second = threading.Thread(target=send)
second.start()
sent.wait()
stat = f"/proc/self/task/{second.native_id}/stat"
while open(stat).read().rpartition(")")[2].split()[0] != "S":
    pass
array_of()[:] = -1
sys.setswitchinterval(0.005)
open(folder + "/go", "w").close()
second.join()
first.join()
os.remove(folder + "/go")
os.remove(folder + "/began")
return [bool((answer == 7).all()) for answer in answers]
"""


@pytest.mark.parametrize("size", [100, 20_000, MIB])
@pytest.mark.parametrize(
    "given",
    [
        pytest.param(
            '(lambda array: (array, lambda: array))(np.full(told["size"], 7, np.int32))', id="a model's array"
        ),
        pytest.param(
            "(lambda array: (array, lambda: array))(self.input().as_numpy())", id="a request's array"
        ),
        pytest.param("(lambda tensor: (tensor, tensor.as_numpy))(self.input())", id="a request's tensor"),
        pytest.param(
            "(lambda tensor: (tensor, tensor.as_numpy))(self.output_of_a_call(told['size']))",
            id="a tensor of another call",
        ),
        pytest.param(
            "(lambda array: (array[10:], lambda: array))(self.input().as_numpy())", id="a part of an array"
        ),
    ],
)
def test_tensors_are_sent_as_they_were_at_the_call(
    load: Load, http: Client, repository: Any, given: str, size: int
) -> None:
    child = load(WAITING, identity_config("INT32"))
    echo = load(
        IDENTITY.replace('"OUT" + ', '"IN" + '), config({"IN": ("INT32", [-1])}, {"IN": ("INT32", [-1])})
    )
    model = load(
        "import sys\n"
        + caller(
            CHANGED_BEHIND.replace("GIVEN", given),
            f"""
            def input(self):
                return pb_utils.get_input_tensor_by_name(self.request, "IN")

            def output_of_a_call(self, size):
                return request("{echo}", {{"IN": np.full(size, 7, np.int32)}}).exec().output_tensors()[0]
            """,
        ),
        CALLER_CONFIG,
    )
    sent = {"IN": np.full(size, 7, np.int32)}
    assert ask(http, model, sent, child=child, size=size, repository=str(repository)) == [True]
