"""A stub that does to the server what it can: nobody else suffers, and a new one takes its place."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.calls import CALLER_CONFIG, ask
from serving.client import Client
from serving.hostile import hostile
from serving.repository import identity_config, model_code, write_model
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until
from tritonclient.utils import InferenceServerException

RINGS = "(0, own.at['server_arena'])"
SERVERS = "(own.at['server_arena'], 1 << 17)"
LARGER = "a larger message than the protocol knows"
STUBS = "(own.at['stub_arena'], 1 << 17)"


@pytest.fixture(autouse=True)
def bystander(server: TritonServer, http: Client) -> Iterator[None]:
    """Another model, which is called all the time and is to answer rightly and from the same process."""
    write_model(server.start.repository, "child", model_code("identity"), identity_config("INT32"))
    http.load("child")
    before = server.stubs()
    over = threading.Event()
    right, wrong = [], []

    def call() -> None:
        dice = random.Random(0)
        with Client(server) as own:
            while not over.is_set():
                numbers = np.array(
                    [dice.randrange(1 << 31) for _ in range(dice.randrange(1, 2000))], np.int32
                )
                try:
                    answer = own.infer("child", {"IN": numbers})["OUT"]
                except Exception as error:
                    wrong.append(repr(error))
                    return
                (right if np.array_equal(answer, numbers) else wrong).append(answer[:8].tolist())

    calling = threading.Thread(target=call)
    calling.start()
    yield
    enough = len(right) + 20
    wait_until("the other model to go on answering", lambda: wrong or len(right) >= enough)
    over.set()
    calling.join()
    assert wrong == []
    assert set(before) <= set(server.stubs()), "the other model's process has been started anew"
    assert server.is_live()


class Attack:
    """What a model of one's own answers that does `one`, or the error; afterwards it answers as ever."""

    def __init__(self, load: Load, http: Client, server: TritonServer) -> None:
        self._load, self._http, self._server = load, http, server

    def __call__(self, one: str) -> Any:
        model = self._load(hostile(one), CALLER_CONFIG)
        outcome = self._answer_or_error(model)
        wait_until("the model to answer as ever", lambda: self._answers_as_ever(model))
        return outcome

    def ends(self, one: str, why: str) -> None:
        """The stub is condemned, and the log says why."""
        outcome = self(one)
        assert isinstance(outcome, str)
        assert "is not healthy." in outcome
        lines = [line for line in self._server.log().splitlines() if "ending the stub process of" in line]
        assert why in lines[-1], self._server.log()

    def _answer_or_error(self, model: str) -> Any:
        try:
            return ask(self._http, model, child="child")
        except InferenceServerException as error:
            return str(error.message())

    def _answers_as_ever(self, model: str) -> bool:
        with Client(self._server) as client:
            try:
                return bool(ask(client, model, own=True) == "as ever")
            except InferenceServerException:
                return False


@pytest.fixture
def attack(load: Load, http: Client, server: TritonServer) -> Attack:
    return Attack(load, http, server)


LIES = {
    "more responses than requests": ("one() + response()", "bytes too many"),
    "no responses": ("reply()", "gave 0 responses to 1 requests"),
    "a count of responses": ("reply(responses_claimed=0xFFFFFFFF)", "a message claims 4294967295 responses"),
    "responses that are not there": ("reply(responses_claimed=1 << 20)", "a message ends early"),
    "a count of kept blocks": ("reply(kept_claimed=1 << 31)", "a message claims 2147483648 kept leases"),
    "a count of outputs": ("one(outputs_claimed=0x7FFFFFFF)", "a message claims 2147483647 outputs"),
    "a count of parameters": ("one(parameters=0xFFFFFFFF)", "a message claims 4294967295 parameters"),
    "a kind of response": ("one(kind=9)", "a response of kind 9"),
    "a text without end": (
        "one(tensor()[:48] + struct.pack('<Q', 1 << 63))",
        "a string of 9223372036854775808",
    ),
    "a text whose padding wraps": ("one(tensor()[:48] + b'\\xff' * 8)", "a string of 18446744073709551615"),
    "a data type": ("one(tensor(dtype=99))", "a tensor with data type 99"),
    "a place": ("one(tensor(place=7))", "place 7"),
    "memory of a GPU": ("one(tensor(memory=2))", "in GPU memory"),
    "a negative dimension": ("one(tensor(shape=(-4,)))", "an impossible shape"),
    "dimensions whose product wraps": ("one(tensor(shape=(1 << 62, 4)))", "an impossible shape"),
    "too many dimensions": ("one(tensor(shape=(1,) * 257))", "an array of 257 numbers"),
    "more bytes than the shape has": ("one(tensor(size=5))", "with 5 bytes, its shape needs 4"),
    "bytes beyond the arena": (
        "one(tensor(offset=own.size))",
        "outside the arena of the stub",
    ),
    "an offset that wraps": ("one(tensor(offset=(1 << 64) - 2))", "outside the arena of the stub"),
    "a foreign block": ("one(tensor(place=HOST, lease=1 << 40))", "which it does not hold"),
    "beyond its own block": (
        "one(tensor(place=HOST, lease=1, offset=1 << 20))",
        "of block 1, which it does not hold",
    ),
    "strings with a lying length": (
        "own.write(own.at['stub_arena'], b'\\xff\\xff\\xff\\x7f') or one(tensor(dtype=BYTES, shape=(1,)))",
        "incomplete string data",
    ),
    "more strings than elements": (
        "own.write(own.at['stub_arena'], bytes(64)) or one(tensor(dtype=BYTES, size=64, shape=(1,)))",
        "unexpected number of string elements",
    ),
}
LIES_OF_SLOTS = {
    "a body beyond the arena": ("offset=1 << 50, size=64", "outside the arena of the stub"),
    "a body whose end wraps": ("offset=64, size=(1 << 64) - 64", "a message of 18446744073709551552 bytes"),
    "a body of 1 TiB": ("size=1 << 40", "a message of 1099511627776 bytes"),
    "events that were never sent": (
        "sent_before=1 << 60",
        "the stub process claims 1152921504606846976 events",
    ),
}
FEW = {
    "responses that are not there",
    "a text whose padding wraps",
    "bytes beyond the arena",
    "a foreign block",
}


def marked(lies: dict[str, tuple[str, str]], few: set[str]) -> list[Any]:
    return [
        pytest.param(*lie, id=name, marks=[] if name in few else [pytest.mark.more])
        for name, lie in lies.items()
    ]


@pytest.mark.parametrize(("body", "why"), marked(LIES, FEW))
def test_a_lie_in_a_reply_ends_the_stub(attack: Attack, body: str, why: str) -> None:
    attack.ends(f"own.answer({body})", why)


@pytest.mark.parametrize(("slot", "why"), marked(LIES_OF_SLOTS, {"a body beyond the arena"}))
def test_a_lie_in_the_slot_of_a_reply_ends_the_stub(attack: Attack, slot: str, why: str) -> None:
    attack.ends(f"own.answer(one(tensor()), {slot})", why)


@pytest.mark.parametrize(
    ("event", "why"),
    [
        pytest.param("77", "sent an event of kind 77", id="a kind"),
        pytest.param("CALL, body=a_call(slot=1024)", "a call that waits in slot 1024", id="a slot"),
        *(
            pytest.param(event, why, id=name, marks=pytest.mark.more)
            for name, event, why in (
                ("a word", "WATCH, offset=4096", "watches cancellation word 4096"),
                ("a question", "ASK, body=an_ask(2, slot=9999)", "a question that waits in slot 9999"),
                ("a level", "LOG, body=a_line(level=9)", "a line for the log of level 9"),
                ("a message on another ring", "REPLY", "sent an event of kind 16"),
            )
        ),
    ],
)
def test_a_lie_in_an_event_ends_the_stub(attack: Attack, event: str, why: str) -> None:
    attack.ends(f"own.event({event})\nhang()", why)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param("REPLY, own.exchange() + 1", id="to another exchange"),
        pytest.param("REPLY, own.exchange() - 1", id="late", marks=pytest.mark.more),
        pytest.param("LOG, own.exchange()", id="that is none", marks=pytest.mark.more),
    ],
)
def test_an_answer_that_nobody_waits_for_is_dropped(attack: Attack, answers: str) -> None:
    """And then comes the right one, which the model makes up, too."""
    outcome = attack(
        f"""
own.put(b"true", 0)
waited_for = own.exchange()
own.push("replies", {answers}, one(tensor()))
time.sleep(0.05)
threading.Timer(0.2, os._exit, [0]).start()
own.answer(one(tensor()), identity=waited_for)
"""
    )
    assert outcome is True


def test_an_answer_that_comes_twice_counts_once(attack: Attack) -> None:
    outcome = attack(
        """
own.put(b"true", 0)
threading.Timer(0.2, os._exit, [0]).start()
own.push("replies", REPLY, own.exchange(), one(tensor()))
own.answer(one(tensor(dtype=99)))
"""
    )
    assert outcome is True


@pytest.mark.parametrize(
    "areas",
    [
        pytest.param(RINGS, id="rings", marks=pytest.mark.more),
        pytest.param(SERVERS, id="the server's arena", marks=pytest.mark.more),
        pytest.param(STUBS, id="its own arena", marks=pytest.mark.more),
        pytest.param(f"{RINGS}, {SERVERS}, {STUBS}", id="everything"),
    ],
)
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.more) for seed in range(2, 12))])
def test_garbage_all_over_the_memory(attack: Attack, areas: str, seed: int) -> None:
    """While the model's messages go to and fro; whatever becomes of them, its client gets an answer."""
    attack(
        f"""
threading.Thread(target=own.scribble, args=({seed}, 0.7, {areas}), daemon=True).start()
threading.Timer(3, os._exit, [3]).start()
seen = []
while len(seen) < 10:
    with contextlib.suppress(Exception):
        call(child, {{"IN": ints(len(seen))}})
    pb_utils.Logger.log_info("among the garbage")
    seen.append(1)
return len(seen)
"""
    )


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param("RELEASE", id="blocks that nobody holds"),
        pytest.param("METRIC_UPDATE", id="metrics that nobody has", marks=pytest.mark.more),
        pytest.param("LOG, a_line('flood')", id="lines", marks=pytest.mark.more),
        pytest.param("WATCH", id="requests to watch", marks=pytest.mark.more),
        pytest.param("RESPOND, response()", id="responses nobody waits for", marks=pytest.mark.more),
        pytest.param("ASK, an_ask(0, name='no name', text='x')", id="questions", marks=pytest.mark.more),
        pytest.param("ASK, an_ask(5, name='child')", id="looks at a model", marks=pytest.mark.more),
        pytest.param("ASK, an_ask(4, name='nobody')", id="unloads", marks=pytest.mark.more),
    ],
)
def test_a_flood_of_events(attack: Attack, flood: str) -> None:
    attack(f"own.flood(1, {flood})\nreturn 1")


@pytest.mark.more
def test_a_flood_of_calls(attack: Attack) -> None:
    """In every slot, with names of no model and inputs that the other model does not have."""
    attack(
        """
for slot in range(1024):
    name = "child" if slot % 2 else "x" * 4096
    while own.room("events") < 8:
        time.sleep(0.001)
    at = own.put(a_call(slot, name, inputs=tensor("IN", INT32, shape=(1,)), count=1), (slot + 1) << 14)
    size = len(a_call(slot, name, inputs=tensor("IN", INT32, shape=(1,)), count=1))
    own.push("events", CALL, 1000 + slot, offset=at, size=size)
    own.ring()
time.sleep(1)
return 1
"""
    )


@pytest.mark.parametrize(
    "names",
    [
        pytest.param("'0 no name'", id="a name that prometheus refuses"),
        pytest.param("'a' * 100_000", id="a long name", marks=pytest.mark.more),
        pytest.param("'\\xff\\xfe'", id="no ASCII", marks=pytest.mark.more),
        pytest.param("'nv_inference_count'", id="a name of the server's", marks=pytest.mark.more),
    ],
)
def test_metrics_with_wrong_names_labels_and_buckets(attack: Attack, names: str) -> None:
    assert (
        attack(
            f"""
bad = [float("nan"), float("inf"), 3.0, 1.0]
for kind in (0, 1, 2):
    own.event(ASK, 10 + kind, an_ask(0, slot=kind, option=kind, name={names}, text="help"))
    time.sleep(0.05)
    for handle in range(1, 5):
        labels = string("no label name!") + string("v") + string("") + string("")
        own.event(ASK, 20, an_ask(1, slot=9, handle=handle, pairs=2, rest=labels, doubles=bad))
        time.sleep(0.02)
        for what in range(4):
            own.event(METRIC_UPDATE, handle, words=(what, 0xFFF8 << 48, 0))
            time.sleep(0.01)
return "gone on"
"""
        )
        == "gone on"
    )


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        pytest.param("control.send(random.randbytes(300))", "an unknown message on its socket", id="garbage"),
        *(
            pytest.param(sent, why, id=name, marks=pytest.mark.more)
            for name, sent, why in (
                ("nothing", "control.send(b'')", "closed its connection"),
                ("a long message", "control.send(bytes(60_000))", LARGER),
                ("many descriptors", "socket.send_fds(control, [b'TPBCHILD'], [2] * 253)", LARGER),
            )
        ),
    ],
)
def test_what_a_stub_may_not_say_on_its_socket(attack: Attack, sent: str, why: str) -> None:
    attack.ends(f"{sent}\nhang()", why)


def test_a_socket_that_is_shut_down(attack: Attack) -> None:
    """Either side may be the first to see it, and ends the process."""
    assert "is not healthy." in attack("control.shutdown(socket.SHUT_RDWR)\nhang()")


def test_a_flood_on_the_socket(attack: Attack, server: TritonServer) -> None:
    before = len(server.process.descriptors())
    attack(
        """
own_end, servers = pair()
for _ in range(300):
    socket.send_fds(control, [b"TPBCHILD"], [servers.fileno()])
    control.send(b"TPBFAIL1" + b"I cannot " * 100)
return 1
"""
    )
    wait_until("as many descriptors as before", lambda: len(server.process.descriptors()) <= before + 20)


def test_a_descriptor_whose_end_takes_its_time(attack: Attack) -> None:
    """A connection that lingers keeps whoever closes it last, when nobody reads at its other end."""
    assert attack(
        """
listening = socket.create_server(("127.0.0.1", 0))
lingering = socket.create_connection(listening.getsockname())
other, _ = listening.accept()
lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
lingering.setblocking(False)
with contextlib.suppress(BlockingIOError):
    while True:
        lingering.send(bytes(1 << 16))
introduce(lingering.fileno())
lingering.close()
time.sleep(0.2)
return call(child, {"IN": ints(5)})["OUT"].tolist()
"""
    ) == [5]


def test_a_waiter_that_is_moved_to_another_word_looks_by_itself(attack: Attack) -> None:
    """The stub takes the wake-up of the server's thread to a futex that nobody wakes."""
    outcome = attack(
        """
word, elsewhere = own.base + own.at["replies"] + 72, own.base + own.at["completions"] + 32
stop = threading.Event()

def steal():
    while not stop.is_set():
        value = own.number(own.at["replies"] + 72)
        libc.syscall(SYS_FUTEX, ctypes.c_void_p(word), FUTEX_CMP_REQUEUE, 0, ctypes.c_long(100),
                     ctypes.c_void_p(elsewhere), value)

threading.Thread(target=steal, daemon=True).start()
time.sleep(0.5)
threading.Timer(3, stop.set).start()
return "late"
"""
    )
    assert outcome == "late"


def test_the_memory_keeps_its_size_and_the_holes_in_it_do_no_harm(attack: Attack) -> None:
    outcome = attack(
        """
channel = Channel()
refused = []
for size in (0, 1, own.size // 2, own.size * 2):
    try:
        os.ftruncate(channel.memfd, size)
    except PermissionError:
        refused.append(size)
# Everything that is there becomes zeros, in the very middle of an exchange.
libc.madvise(ctypes.c_void_p(own.base), ctypes.c_size_t(own.size), MADV_REMOVE)
threading.Timer(1, os._exit, [3]).start()
return len(refused)
"""
    )
    assert outcome == 4 or "is not healthy" in str(outcome)


def test_the_servers_own_view_of_a_stubs_arena_is_read_only(
    attack: Attack, server: TritonServer, repository: Path
) -> None:
    """And of what two stubs map nothing is the same."""
    attack("return 1")
    maps = [line.split() for line in server.process.maps().splitlines() if "/memfd:" in line]
    assert sum(line[1] == "r--s" for line in maps) >= 2
    by_stub = [
        {line.split()[4] for line in stub.maps().splitlines() if "/memfd:" in line} for stub in server.stubs()
    ]
    assert len(by_stub) == 2
    assert all(by_stub)
    assert not by_stub[0] & by_stub[1]
