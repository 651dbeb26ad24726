"""Minutes of random load: no wrong answer, no growth, nothing left. SOAK_MINUTES says how many."""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter

import pytest
from serving.client import Client
from serving.server import TritonServer
from serving.soak import Memory, Soak, write_models
from serving.types import StartServer
from serving.unrest import GUEST, MODELS, Unrest
from serving.unrest_report import percentile, report, total
from serving.waiting import wait_until

MINUTES = float(os.environ.get("SOAK_MINUTES", "1"))
# What the largest requests in flight may add at the moment of a sample.
SLACK = 96 << 20
MIB = 1 << 20

pytestmark = [pytest.mark.more, pytest.mark.soak, pytest.mark.timeout(MINUTES * 60 + 300)]


def test_a_soak_has_no_wrong_answer_and_no_growth(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start_server()
    write_models(server.start.repository)
    seed = int(os.environ.get("SOAK_SEED", time.time()))
    soak = Soak()

    with Client(server) as client:
        for model in ("soak_identity", "soak_caller", "soak_doubler", "soak_keeper"):
            client.load(model)
        soak.run(server, MINUTES, seed)

    with capsys.disabled():
        print(f"\nsoak of {MINUTES} min, seed {seed}: {dict(soak.answers)}")
        for sample in soak.memory[:: max(1, len(soak.memory) // 12)]:
            print(
                f"  MiB: server {sample.server / MIB:.0f}, shared {sample.shared / MIB:.0f}, "
                f"stubs {sample.stubs / MIB:.0f}"
            )
    assert not soak.wrong, soak.wrong
    assert server.is_live()
    expect_no_growth(soak.memory)


def test_a_soak_under_fire_has_no_wrong_answer_and_leaves_nothing(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Processes are killed and stopped, models come and go, requests are cancelled."""
    # By default glibc keeps what was freed in several heaps, and takes minutes to find its level: what would
    # leak could not be told from that.
    server = start_server(environment={"MALLOC_ARENA_MAX": "1"})
    unrest = Unrest(server, seed=int(os.environ.get("SOAK_SEED", time.time())))
    unrest.prepare()
    before = held(server)

    unrest.run(MINUTES)

    with Client(server) as client:
        if client.state(GUEST).startswith("READY"):
            client.unload(GUEST)
    with capsys.disabled():
        print("\n" + report(unrest, before, held(server)))
    assert not unrest.wrong, unrest.wrong[:10]
    assert server.is_live()
    assert all(unrest.tallies[model].right > 0 for model in MODELS)
    assert percentile(total(unrest).recoveries, 50) < 10
    wait_until(f"no more than {before} to be in use", lambda: held(server) <= before)
    expect_no_growth([one.memory for one in unrest.samples], stubs=False)
    leaves_nothing(server)


def held(server: TritonServer) -> Counter[str]:
    """What is the backend's in the server; connections of clients are not."""
    targets = [target for target in server.process.descriptors().values() if not target.startswith("socket")]
    threads = [name for name in server.process.threads() if name.startswith("tpb-")]
    return Counter(descriptors=len(targets), threads=len(threads))


def leaves_nothing(server: TritonServer) -> None:
    with Client(server) as client:
        for model in reversed(MODELS):
            client.unload(model)
    wait_until("the end of all processes", lambda: not server.all_stubs())
    region = f"memfd:{server.region_prefix}"
    wait_until("the server to let go of its memory", lambda: not server.process.mentions(region))
    assert not server.shm_names()


def expect_no_growth(memory: list[Memory], stubs: bool = True) -> None:
    warm = len(memory) // 3
    early, late = memory[warm : 2 * warm], memory[2 * warm :]
    for what in ("server", "shared", *(["stubs"] if stubs else [])):
        before, after = _median(early, what), _median(late, what)
        assert after <= before * 1.1 + SLACK, f"{what}: {before / MIB:.0f} MiB, then {after / MIB:.0f} MiB"


def _median(samples: list[Memory], what: str) -> float:
    return statistics.median(getattr(sample, what) for sample in samples)
