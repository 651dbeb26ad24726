"""What a model may do with its socket to the server and with the memory between them: nobody else suffers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from serving.calls import CALLER_CONFIG, ask
from serving.client import Client
from serving.repository import identity_config, model_code, write_model
from serving.server import TritonServer
from serving.talking import talking
from serving.types import Load
from serving.waiting import wait_until
from tritonclient.utils import InferenceServerException


@pytest.fixture(autouse=True)
def _another_model_still_answers(server: TritonServer, http: Client) -> Iterator[None]:
    write_model(server.start.repository, "child", model_code("identity"), identity_config("INT32"))
    http.load("child")
    before = server.stubs()
    yield
    assert set(before) <= set(server.stubs()), "the other model's process has been started anew"


def goes_on(load: Load, http: Client, server: TritonServer, one: str) -> Any:
    """What the model answers, which afterwards works as before, and so do its forked children."""
    model = load(
        talking(
            "if 'own' in told:\n"
            "    if os.fork() == 0:\n"
            "        os._exit(call(child, {'IN': ints(3)})['OUT'][0])\n"
            "    forked = os.waitstatus_to_exitcode(os.wait()[1])\n"
            "    return [*call(child, {'IN': ints(2)})['OUT'].tolist(), forked]\n" + one
        ),
        CALLER_CONFIG,
    )
    assert ask(http, model, child="child", own=True) == [2, 3]
    before = len(server.process.descriptors())
    answer = ask(http, model, child="child")
    assert ask(http, model, child="child", own=True) == [2, 3]
    wait_until("as many descriptors as before", lambda: len(server.process.descriptors()) <= before)
    return answer


def is_ended(load: Load, http: Client, server: TritonServer, one: str, why: str) -> None:
    model = load(talking(one), CALLER_CONFIG)
    with pytest.raises(InferenceServerException, match=f"Stub process '{model}_0' is not healthy."):
        ask(http, model, child="child")
    wait_until("the sentence", lambda: why in server.log())


@pytest.mark.parametrize(
    "descriptor",
    [
        pytest.param("os.open('/dev/null', os.O_RDWR)", id="a device"),
        pytest.param("os.open('/', os.O_RDONLY)", id="a folder"),
        pytest.param("os.pipe()[0]", id="a pipe"),
        pytest.param("os.eventfd(1)", id="an eventfd"),
        pytest.param("os.memfd_create('x')", id="memory"),
        pytest.param("socket.socket(type=socket.SOCK_DGRAM).detach()", id="a datagram socket"),
        pytest.param("socket.socket().detach()", id="an unconnected socket"),
        pytest.param("pair()[0].detach()", id="a socket that is closed at its other end"),
        pytest.param("os.dup(3)", id="the socket itself"),
    ],
)
def test_a_descriptor_that_leads_to_no_child(
    load: Load, http: Client, server: TritonServer, descriptor: str
) -> None:
    goes_on(load, http, server, f"fd = {descriptor}\nintroduce(fd)\nos.close(fd)\nreturn 1")
    assert "gets no channel: " in server.log()


@pytest.mark.parametrize(
    ("first", "said"),
    [
        pytest.param(
            "hello(wire=99)",
            r"TPBFAIL1the stub process has triton-python-backend .* \(wire version 99\)",
            id="wire",
        ),
        pytest.param(
            "hello(package='0.0.1')",
            r"TPBFAIL1the stub process has triton-python-backend 0\.0\.1 ",
            id="package",
        ),
        pytest.param(
            "hello(magic=b'NOTHELLO')",
            "TPBFAIL1the first message of the stub process is not a hello",
            id="magic",
        ),
        pytest.param("hello()[:-1]", "TPBFAIL1a first message of 79 bytes from the stub process", id="short"),
        pytest.param(
            "bytes(20_000)", "TPBFAIL1the peer sent a larger message than the protocol knows", id="long"
        ),
        pytest.param("b'TPBFAIL1I cannot'", "TPBFAIL1I cannot", id="a failure"),
    ],
)
def test_a_child_that_does_not_speak_the_protocol(
    load: Load, http: Client, server: TritonServer, first: str, said: str
) -> None:
    assert re.match(said, goes_on(load, http, server, f"return answer_to({first})"))


def test_a_flood_of_children(load: Load, http: Client, server: TritonServer) -> None:
    """Without a hello, they leave nothing; with one, no more than 64 get a channel."""
    one = """
for _ in range(500):
    own, servers = pair()
    introduce(servers.fileno())
kept = []
for _ in range(80):
    own, servers = pair()
    own.send(hello())
    introduce(servers.fileno())
    servers.close()
    kept.append(own)
return [socket.recv_fds(own, 65536, 3)[0][:8].decode() for own in kept]
"""
    answers = goes_on(load, http, server, one)
    assert answers == ["TBHELLO1"] * 64 + ["TPBFAIL1"] * 16


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        pytest.param("channel.push(100_000)", "moved a ring's tail to an impossible place", id="a tail"),
        pytest.param("channel.slot(0, 77)\nchannel.push()", "sent an event of kind 77", id="a kind"),
        pytest.param(
            "channel.slot(0, 33, offset=1 << 40, size=64)\nchannel.push()",
            "outside the arena of the stub",
            id="a body",
        ),
        pytest.param(
            "channel.slot(0, 33, size=1 << 30)\nchannel.push()", "a message of 1073741824 bytes", id="a size"
        ),
        pytest.param("channel.slot(0, 33, size=64)\nchannel.push()", "a message ", id="a call"),
        pytest.param("channel.slot(0, 33)\nchannel.push()", "a message ends early", id="no call"),
    ],
)
def test_a_child_that_breaks_the_protocol_is_not_heard_any_more(
    load: Load, http: Client, server: TritonServer, lie: str, why: str
) -> None:
    """Its parent is, and so are its siblings."""
    one = f"channel = Channel()\n{lie}\nreturn channel.dropped()"
    assert goes_on(load, http, server, one) is True
    lines = [line for line in server.log().splitlines() if "is not listened to any more: " in line]
    assert any(why in line for line in lines), lines


def test_a_child_that_writes_all_over_its_memory(load: Load, http: Client, server: TritonServer) -> None:
    """Rings, slots and arenas of its own channel are its own risk."""
    one = """
import random

for seed in range(40):
    random.seed(seed)
    channel = Channel()
    for _ in range(20):
        at = random.randrange(channel.arena + 4096) & ~3
        channel.memory[at : at + 4] = random.randbytes(4)
    channel.memory[channel.arena : channel.arena + 4096] = random.randbytes(4096)
    for slot in range(64):
        kind = random.choice([32, 33])
        channel.slot(slot, kind, random.randrange(4), random.randrange(4096), random.randrange(256))
    channel.push(random.randrange(1, 64))
return seed
"""
    assert goes_on(load, http, server, one) == 39


def test_an_unknown_message_on_the_socket_ends_the_stub(
    load: Load, http: Client, server: TritonServer
) -> None:
    one = "control.send(b'nonsense')\nthreading.Event().wait()"
    is_ended(load, http, server, one, "the stub process sent an unknown message on its socket")


def test_more_descriptors_than_belong_end_the_stub(load: Load, http: Client, server: TritonServer) -> None:
    one = "socket.send_fds(control, [b'TPBCHILD'], [0, 1])\nthreading.Event().wait()"
    is_ended(load, http, server, one, "the peer sent a larger message than the protocol knows")
