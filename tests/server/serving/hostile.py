"""A model that takes its own stub's place towards the server: it writes what it likes into their memory."""

from __future__ import annotations

from serving.talking import EXTENTS, talking

# `own` is the channel between this process's stub and the server, which goes on using it beside us.
_HOSTILE = """
import contextlib
import ctypes
import random
import time

EXECUTE, REPLY, RELEASE, CALL, LOG, RESPOND, WATCH, METRIC_UPDATE, ASK = 1, 16, 32, 33, 34, 36, 38, 49, 48
TENSORS, ERROR = 1, 2
INT32, BYTES, UINT8 = 8, 13, 2
HOST, STUB = 0, 1  # whose arena
SYS_FUTEX, FUTEX_WAKE, FUTEX_CMP_REQUEUE = 202, 1, 4
MADV_REMOVE = 9

libc = ctypes.CDLL(None, use_errno=True)


class Own:
    def __init__(self):
        with open("/proc/self/maps") as maps:
            mapped = [line.split()[0].split("-") for line in maps if "/memfd:" in line and " rw-s " in line]
        self.base = min(int(start, 16) for start, _ in mapped)
        # All channels of a stub are laid out alike.
        numbers = Channel().numbers
        self.size = numbers[0]
        self.next = 1 << 16
        assert max(int(end, 16) for _, end in mapped) - self.base == self.size
        self.at = {name: numbers[index] for name, index in EXTENTS.items()}
        rings = ("work", "replies", "events")
        self.capacity = {name: numbers[EXTENTS[name] + 1] & 0xFFFFFFFF for name in rings}
        fds = os.listdir("/proc/self/fd")
        self.doorbells = [int(fd) for fd in fds if "eventfd" in self.target(f"/proc/self/fd/{fd}")]

    @staticmethod
    def target(link):
        with contextlib.suppress(OSError):
            return os.readlink(link)
        return ""

    def write(self, at, data):
        ctypes.memmove(self.base + at, data, min(len(data), self.size - at))

    def read(self, at, size):
        return ctypes.string_at(self.base + at, size)

    def number(self, at):
        return struct.unpack("<I", self.read(at, 4))[0]

    def exchange(self):
        # The message that the stub is working on.
        last = (self.number(self.at["work"]) - 1) % self.capacity["work"]
        return struct.unpack("<Q", self.read(self.at["work"] + 128 + 64 * last + 8, 8))[0]

    # Behind what the stub itself uses, each further on.
    def put(self, body, at=None):
        if at is None:
            at = self.next
            self.next = at + -(-len(body) // 64) * 64 if at < 1 << 24 else 1 << 16
        self.write(self.at["stub_arena"] + at, body)
        return at

    def push(self, ring, kind, identity=0, body=b"", flags=0, sent_before=0, words=(0, 0, 0), **lie):
        tail = self.number(self.at[ring])
        offset = lie.get("offset", self.put(body) if body else 0)
        slot = struct.pack(
            "<IIQQQQ3Q", kind, flags, identity, offset, lie.get("size", len(body)), sent_before, *words
        )
        self.write(self.at[ring] + 128 + 64 * (tail % self.capacity[ring]), slot)
        self.write(self.at[ring], struct.pack("<I", (tail + 1) & 0xFFFFFFFF))

        if ring == "replies":
            doorbell = self.at[ring] + 72
            self.write(doorbell, struct.pack("<I", self.number(doorbell) + 1 & 0xFFFFFFFF))
            libc.syscall(SYS_FUTEX, ctypes.c_void_p(self.base + doorbell), FUTEX_WAKE, 1, None, None, 0)

    def ring(self):
        for fd in self.doorbells:
            os.eventfd_write(fd, 1)

    def room(self, ring):
        tail, head = self.number(self.at[ring]), self.number(self.at[ring] + 64)
        return self.capacity[ring] - (tail - head) % (1 << 32)

    # As the reply to the message at hand. The stub itself is held up, and cannot send the true one.
    def answer(self, body=b"", **lie):
        lie.setdefault("identity", self.exchange())
        self.push("replies", REPLY, body=body, **lie)
        hang()

    def event(self, kind, identity=0, body=b"", **lie):
        self.push("events", kind, identity, body, **lie)
        self.ring()

    def flood(self, seconds, kind, body=b"", **more):
        end = time.monotonic() + seconds
        identity = 1 << 32
        while time.monotonic() < end:
            if self.room("events") > 8:
                identity += 1
                self.push("events", kind, identity, body, **more)
            else:
                self.ring()
        self.ring()

    def scribble(self, seed, seconds, *areas):
        # Anything, anywhere: mostly where it matters.
        dice = random.Random(seed)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            first, size = dice.choice(areas)
            at = first + dice.randrange(size)
            data = dice.randbytes(dice.choice([1, 4, 4, 8, 64, 512]))
            self.write(at & ~3 if dice.random() < 0.7 else at, data)
            if dice.random() < 0.1:
                self.ring()
            time.sleep(0)


def hang():
    threading.Event().wait()


def string(text):
    text = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(text)) + text + bytes(-len(text) % 8)


def numbers(*values):
    return struct.pack("<Q%dq" % len(values), len(values), *values)


def tensor(name="ANSWER", dtype=UINT8, memory=0, place=STUB, lease=0, offset=0, size=4, shape=(4,)):
    record = struct.pack("<IIqIIQQQ", dtype, memory, 0, place, 0, lease, offset, size)
    return record + string(name) + numbers(*shape)


def response(*outputs, kind=TENSORS, outputs_claimed=None, parameters=0):
    count = len(outputs) if outputs_claimed is None else outputs_claimed
    return struct.pack("<IIII", kind, 0, count, parameters) + string("") + b"".join(outputs)


def reply(*responses, responses_claimed=None, kept=(), kept_claimed=None, states=0):
    counts = (
        len(responses) if responses_claimed is None else responses_claimed,
        len(kept) if kept_claimed is None else kept_claimed,
    )
    head = struct.pack("<8I", 0, 0, *counts, 0, 0, states, 0)
    return head + string("") + struct.pack("<%dQ" % len(kept), *kept) + b"".join(responses)


def one(*outputs, **lie):
    return reply(response(*outputs, **lie))


def a_call(slot=0, model="child", flags=0, inputs=b"", count=0):
    head = struct.pack("<qQII", -1, 0, slot, flags) + string(model)
    return head + struct.pack("<QQQQIIIIII", 0, 0, 0, 0, 0, 0, count, 0, 0, 0) + string("") * 3 + inputs


def an_ask(kind, slot=0, handle=0, option=0, name="", text="", pairs=0, rest=b"", doubles=()):
    record = struct.pack("<IIQII", kind, slot, handle, option, pairs)
    buckets = struct.pack("<Q%dd" % len(doubles), len(doubles), *doubles)
    return record + string(name) + string(text) + rest + buckets


def a_line(text="x", level=0):
    return struct.pack("<II", level, 1) + string("model.py") + string(text)
"""


def hostile(one: str) -> str:
    """As `talking`; what `one` does to the server it does with `own` and the functions above."""
    body = "own = Own()\n" + one
    return talking(
        f"if 'own' in told:\n    return 'as ever'\n{body}", _HOSTILE.replace("EXTENTS", repr(EXTENTS))
    )
