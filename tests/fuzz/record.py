"""Writes what a real stub says to a real server into a folder, as inputs for the fuzzers.

A model in that stub calls, logs, counts and answers. A thread of it looks into the memory that its process
shares with the server, and copies the messages that pass.
"""

from __future__ import annotations

import struct
import sys
import tempfile
import time
from pathlib import Path

import triton_python

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))

from serving.calls import CALLER_CONFIG, ask
from serving.client import Client
from serving.hostile import hostile
from serving.repository import identity_config, model_code, write_model
from serving.server import Start, TritonServer

# The kinds of messages, and what fuzz_messages reads their bodies as: inputs.h.
REPLY = 16
KINDS = {REPLY: 0, 36: 1, 33: 2, 34: 3, 48: 4, 50: 5}
EVENT, REPLY_STEP, HANDLE, BEGIN, RECEIVE = 0, 1, 5, 6, 7
SLOT = struct.Struct("<IIQQQQQ")
LONGEST = 4000

RECORDING = """
folder = told["folder"]
stop = threading.Event()

def record():
    seen = {ring: own.number(own.at[ring]) for ring in ("events", "replies")}
    count = 0
    while not stop.is_set():
        for ring in seen:
            while seen[ring] != own.number(own.at[ring]):
                slot = own.read(own.at[ring] + 128 + 64 * (seen[ring] % own.capacity[ring]), 64)
                offset, size = struct.unpack_from("<QQ", slot, 16)
                body = own.read(own.at["stub_arena"] + offset, size) if 0 < size < own.size else b""
                with open(f"{folder}/{count:04}", "wb") as file:
                    file.write(slot + body)
                count += 1
                seen[ring] = (seen[ring] + 1) & 0xFFFFFFFF
        time.sleep(0)

if told["what"] == "start":
    own.stop = stop
    TritonPythonModel.recording = own
    threading.Thread(target=record, daemon=True).start()
    time.sleep(0.1)
if told["what"] == "stop":
    TritonPythonModel.recording.stop.set()
if told["what"] == "talk":
    pause = lambda: time.sleep(0.02)
    call(child, {"IN": ints(1, 2, 3)})
    pause()
    text_of(request("nobody", {"IN": np.array([b"ab", b""], object)}).exec())
    pause()
    pb_utils.Logger.log_warn("a line")
    pause()
    family = pb_utils.MetricFamily(name="recorded", description="d", kind=pb_utils.MetricFamily.COUNTER)
    pause()
    metric = family.Metric(labels={"label": "value"})
    pause()
    metric.increment(1)
    pause()
    metric.value()
    pause()
    pb_utils.is_model_ready("nobody")
    pause()
    sender = self.request.get_response_sender()
    self.request.is_cancelled()
    pause()
if told["what"] == "fail":
    raise ValueError("as it should")
return ["as ever", "told"]
"""


def main() -> int:
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        raw = place / "raw"
        raw.mkdir()
        record(place, raw)
        messages = [read(file) for file in sorted(raw.iterdir())]
    write(target, [message for message in messages if message is not None])
    return 0


def record(place: Path, raw: Path) -> None:
    repository = place / "models"
    write_model(repository, "child", model_code("identity"), identity_config("INT32"))
    write_model(repository, "recorded", hostile(RECORDING), CALLER_CONFIG)
    server = TritonServer(
        Start(
            binary=triton_python.find_server().binary,
            backend_dir=triton_python.backend_directory(None),
            repository=repository,
            log=place / "log",
            explicit=False,
        )
    )
    try:
        with Client(server) as client:
            for what in ("start", "talk", "nothing", "fail", "stop"):
                try:
                    ask(client, "recorded", child="child", what=what, folder=str(raw))
                except Exception as error:
                    if what != "fail":
                        raise
                    print(f"the model failed as it was told: {str(error)[:60]}")
                time.sleep(0.1)
    finally:
        server.stop()


def read(file: Path) -> tuple[tuple[int, ...], bytes] | None:
    content = file.read_bytes()
    slot = SLOT.unpack_from(content)
    return (slot, content[64:]) if len(content) - 64 <= LONGEST else None


def write(target: Path, messages: list[tuple[tuple[int, ...], bytes]]) -> None:
    for name in ("messages", "conversation"):
        (target / name).mkdir(parents=True, exist_ok=True)
    steps = [bytes([0]), bytes([BEGIN, 0])]
    for count, (slot, body) in enumerate(messages):
        kind, flags, identity, offset, _, sent_before, word = slot
        if kind in KINDS:
            (target / "messages" / f"real-{count}").write_bytes(bytes([KINDS[kind]]) + body)
        numbers = (kind, flags, identity, sent_before, word if body else offset)
        step = bytes(number & 0xFF for number in (REPLY_STEP if kind == REPLY else EVENT, *numbers))
        steps.append(step + struct.pack("<H", len(body)) + body)
        steps.append(bytes([RECEIVE, BEGIN, 0]) if kind == REPLY else bytes([HANDLE, 64]))
    for size in (8, 16, len(steps)):
        (target / "conversation" / f"real-{size}").write_bytes(b"".join(steps[:size]))
    kinds = sorted({slot[0] for slot, _ in messages})
    print(f"recorded {len(messages)} messages of the kinds {kinds}")


if __name__ == "__main__":
    sys.exit(main())
