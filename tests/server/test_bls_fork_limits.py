"""Many forked children that call: one after another, more than may, and where the server has no room."""

from __future__ import annotations

import resource
from pathlib import Path

from serving.calls import CALLER_CONFIG, ask, caller
from serving.client import Client
from serving.forks import FORKS
from serving.repository import identity_config, model_code
from serving.server import TritonServer
from serving.types import Load, Settle

IDENTITY = model_code("identity")


def test_many_children_one_after_another(load: Load, http: Client, settle: Settle) -> None:
    """More than may call at the same time."""
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            def work(number):
                return lambda: call(child, {"IN": ints(number)})["OUT"].tolist()

            return [self.in_child(work(number)) for number in range(told["count"])]
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settle(model, child)
    assert ask(http, model, child=child, count=150) == [[number] for number in range(150)]


def test_one_child_too_many_is_told_so(
    load: Load, http: Client, server: TritonServer, settle: Settle, repository: Path
) -> None:
    """Afterwards there is room again, at once and for as many."""
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            folder = told["folder"]
            os.makedirs(folder, exist_ok=True)

            def calls_and_stays():
                call(child, {"IN": ints(1)})
                open(f"{folder}/called{os.getpid()}", "w").close()
                while not os.path.exists(folder + "/leave"):
                    threading.Event().wait(0.01)
                return "left"

            staying = [self.start(calls_and_stays) for _ in range(min(told["count"], 64))]
            while len(os.listdir(folder)) < len(staying):
                threading.Event().wait(0.01)
            text = self.in_child(lambda: text_of(request(child, {"IN": ints(1)}).exec()))
            own = call(child, {"IN": ints(2)})["OUT"].tolist()
            open(folder + "/leave", "w").close()
            return [text, own, [self.finish(one) for one in staying]]
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settled_folder = str(repository / "settled")
    settle(model, child, folder=settled_folder)
    for turn in range(2):
        text, own, left = ask(http, model, child=child, count=65, folder=str(repository / f"turn{turn}"))
        assert text == (
            f"Model {child} - Error when running inference: 64 forked children of this model already talk to "
            "the server, which is as many as may"
        )
        assert own == [2]
        assert left == ["left"] * 64


def test_the_place_of_a_child_that_has_ended_is_free_at_once(
    load: Load, http: Client, settle: Settle
) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            def calls_and_stays(may_begin, called):
                def work():
                    may_begin.read(1)
                    text = text_of(request(child, {"IN": ints(1)}).exec())
                    os.write(called, (text + ";").encode())
                    threading.Event().wait()
                return work

            texts, before = set(), []
            for _ in range(told["count"]):
                begin, called = os.pipe(), os.pipe()
                may_begin = os.fdopen(begin[0], "rb", 0)
                now = [self.start(calls_and_stays(may_begin, called[1])) for _ in range(64)]
                for process, _ in before:
                    os.kill(process, 9)
                for process, _ in before:
                    os.waitpid(process, 0)
                os.write(begin[1], bytes(64))
                said = b""
                while said.count(b";") < 64:
                    said += os.read(called[0], 65536)
                texts.update(said.decode().split(";"))
                for fd in (begin[1], *called, *(reading for _, reading in now)):
                    os.close(fd)
                may_begin.close()
                before = now
            for process, _ in before:
                os.kill(process, 9)
                os.waitpid(process, 0)
            return sorted(texts)
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settle(model, child)
    assert ask(http, model, child=child, count=5) == ["", "no error"]


def test_children_whose_own_children_live_on_are_not_counted(
    load: Load, http: Client, settle: Settle
) -> None:
    """Those hold what they have inherited open, such as the socket to the server."""
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            lasting, end = os.pipe()

            def is_pipe(fd):
                try:
                    return stat.S_ISFIFO(os.fstat(fd).st_mode)
                except OSError:
                    return False

            def leaves_a_child():
                text = text_of(request(child, {"IN": ints(1)}).exec())
                if os.fork() == 0:
                    for fd in map(int, os.listdir("/proc/self/fd")):
                        if fd != lasting and is_pipe(fd):
                            os.close(fd)
                    os.read(lasting, 1)
                    os._exit(0)
                return text

            texts = [self.in_child(leaves_a_child) for _ in range(told["count"])]
            os.close(end)
            return sorted(set(texts))
            """,
            FORKS,
        ).replace("import os\n", "import os\nimport stat\n", 1),
        CALLER_CONFIG,
    )
    settle(model, child)
    assert ask(http, model, child=child, count=80) == ["no error"]


def test_a_server_without_descriptors_refuses_a_child_and_goes_on(
    load: Load, http: Client, server: TritonServer, settle: Settle
) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            own = call(child, {"IN": ints(1)})["OUT"].tolist()
            return [self.in_child(lambda: text_of(request(child, {"IN": ints(2)}).exec())), own]
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settle(model, child)
    assert ask(http, model, child=child) == ["no error", [1]]
    before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    used = server.process.descriptors()
    free = next(number for number in range(len(used) + 1) if number not in used)
    # None for the child's socket; then one, but none for its memory.
    for more in range(4):
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (free + more, before[1]))
        try:
            text, own = ask(http, model, child=child)
        finally:
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
        assert text.startswith(f"Model {child} - Error when running inference: ") or text == "no error"
        assert more > 0 or "the server closed the connection during the handshake" in text
        assert own == [1]
    assert "the server may not open more files (ulimit -n)" in server.log()
    assert ask(http, model, child=child) == ["no error", [1]]
