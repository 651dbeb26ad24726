"""Minutes of random load: no wrong answer, no growth, nothing left. SOAK_MINUTES says how many."""

from __future__ import annotations

import os
import statistics
import time

import pytest
from serving.client import Client
from serving.soak import Memory, Soak, write_models
from serving.types import StartServer

MINUTES = float(os.environ.get("SOAK_MINUTES", "1"))
# What the largest requests in flight may add at the moment of a sample.
SLACK = 96 << 20
MIB = 1 << 20


@pytest.mark.more
@pytest.mark.soak
@pytest.mark.timeout(MINUTES * 60 + 300)
def test_a_soak_has_no_wrong_answer_and_no_growth(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start_server(settings={"shm-max-byte-size": str(512 * MIB)})
    write_models(server.start.repository)
    seed = int(time.time())
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
    warm = len(soak.memory) // 3
    early, late = soak.memory[warm : 2 * warm], soak.memory[2 * warm :]
    for what in ("server", "stubs", "shared"):
        before, after = _median(early, what), _median(late, what)
        assert after <= before * 1.1 + SLACK, f"{what}: {before / MIB:.0f} MiB, then {after / MIB:.0f} MiB"


def _median(samples: list[Memory], what: str) -> float:
    return statistics.median(getattr(sample, what) for sample in samples)
