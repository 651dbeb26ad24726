"""Each phase of a model's process meets each fault, on a real server under traffic.

Every request is answered rightly, or fails with the reason that the grid expects; another model notices
nothing; the model works afterwards; nothing is left.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faulty.grid import CELLS, FAULTS, FIFTH, GRID, LEFT_OUT, OUTCOMES, PHASES, Cell
from faulty.stage import ON_A_THREAD, Cast, Stage
from faulty.traffic import CALM, Traffic
from serving.client import Client
from serving.server import Start, TritonServer
from serving.waiting import wait_until
from tritonclient.utils import InferenceServerException

import triton_python

HERE = Path(__file__).parent
SETTINGS = {
    "python-executable": str(HERE / "planted" / "python.sh"),
    "stub-timeout-seconds": "8",
    "unload-timeout-seconds": "5",
    # Some cells kill on purpose more often than a model should die.
    "stub-restart-max-deaths": "1000",
}
IN_TIME = 30
# While large tensors are copied: the moment is chance, so there are several.
BLOWS = 3
FROM_OUTSIDE = ("SIGKILL", "SIGSEGV", "SIGSTOP")


@pytest.fixture(scope="module")
def stage(
    triton_server_binary: Path, backend_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("faults")
    switches, temporary, repository = (folder / name for name in ("switches", "tmp", "models"))
    for one in (switches, temporary, repository):
        one.mkdir()
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE / "planted"), os.environ.get("PYTHONPATH")])),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(temporary),
        "FAULT_PYTHON": sys.executable,
        "FAULT_SWITCHES": str(switches),
        "FAULT_WIRE": str(HERE.parents[1] / "ipc" / "wire.h"),
        "FAULT_PACKAGE": triton_python.__version__,
    }
    start = Start(
        binary=triton_server_binary,
        backend_dir=backend_dir,
        repository=repository,
        log=folder / "server.log",
        settings=SETTINGS,
        environment=environment,
    )
    server = TritonServer(start)
    try:
        with Client(server) as http:
            bystander = Traffic(server, "bystander", CALM)
            one = Stage(server, switches, temporary, http, bystander)
            one.load(one.write("bystander", "plain"))
            with bystander:
                bystander.advance()
                one.load(one.write("first", "plain"))
                # Triton 2.51 may crash when a model goes in the moment in which it has come.
                with Traffic(server, "first", CALM) as traffic:
                    traffic.advance()
                one.unload("first")
                one.used = one.look()
                yield one
            one.unload("bystander")
        begun = time.monotonic()
        assert server.stop() == 0, server.log()
        assert time.monotonic() - begun < IN_TIME
        server.wait_until_nothing_is_left()
    finally:
        server.discard()


@pytest.fixture(autouse=True)
def _nobody_else_notices(request: pytest.FixtureRequest) -> Iterator[None]:
    if "cell" not in request.fixturenames:
        yield
        return
    stage: Stage = request.getfixturevalue("stage")
    (stub,) = stage.stubs("bystander")
    log_before = len(stage.server.log())
    try:
        yield
        stage.bystander.advance()
        assert stage.bystander.wrong == []
        assert stage.bystander.errors == []
        assert stub.alive
    finally:
        stage.clear()
        request.node.add_report_section("teardown", "server log", stage.server.log()[log_before:][-20000:])


def cells(chosen: list[Cell]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("cell", chosen, ids=lambda cell: cell.name)


@cells([cell for cell in CELLS if cell.name in FIFTH])
def test_a_cell(stage: Stage, cell: Cell) -> None:
    meet(stage, cell)


@pytest.mark.more
@cells(CELLS)
def test_each_cell(stage: Stage, cell: Cell) -> None:
    meet(stage, cell)


def meet(stage: Stage, cell: Cell) -> None:
    cast = Cast.of(stage, cell)
    if cell.while_loading:
        meet_while_loading(stage, cell, cast)
    elif cell.phase == "finalize":
        meet_while_unloading(stage, cell, cast)
    else:
        meet_while_serving(stage, cell, cast)
    assert stage.unload(*reversed(cast.all)) < IN_TIME
    stage.expect_nothing_left(cast.all)


def meet_while_loading(stage: Stage, cell: Cell, cast: Cast) -> None:
    stage.plant(cast.victim, cast.point, cell.fault)
    with ThreadPoolExecutor(1) as pool:
        loaded = pool.submit(load_error, stage.server, cast.victim)
        stage.afterwards(cell, stage.victim_of(cast.victim))
        error = loaded.result()
    if cell.outcome == "unseen":
        assert error is None
    else:
        assert error is not None, "it was not to load"
        assert re.search(cell.load_error(), error), error
        stage.load(cast.victim)
    works(stage, cell, cast)


def load_error(server: TritonServer, model: str) -> str | None:
    with Client(server) as client:
        try:
            client.load(model)
        except InferenceServerException as error:
            return str(error.message())
    return None


def works(stage: Stage, cell: Cell, cast: Cast) -> None:
    with cast.traffic(stage, cell) as traffic:
        traffic.advance()
    assert traffic.wrong == []
    assert traffic.errors == []


def meet_while_unloading(stage: Stage, cell: Cell, cast: Cast) -> None:
    stage.load(*cast.all)
    works(stage, cell, cast)
    stage.plant(cast.victim, cast.point, cell.fault)
    begun = time.monotonic()
    stage.http.raw.unload_model(cast.victim)
    stage.afterwards(cell, stage.victim_of(cast.victim))
    stage.await_unloaded(cast.victim)
    assert time.monotonic() - begun < IN_TIME
    assert stage.stubs(cast.victim) == []
    stage.load(cast.victim)
    works(stage, cell, cast)


def meet_while_serving(stage: Stage, cell: Cell, cast: Cast) -> None:
    stage.load(*cast.all)
    before = stage.stubs(cast.victim)
    helpers = [stub for name in cast.all if name != cast.victim for stub in stage.stubs(name)]
    if cell.phase == "restart":
        stage.plant(cast.victim, cast.point, cell.fault)
        os.kill(before[0].pid, signal.SIGKILL)
    with cast.traffic(stage, cell) as traffic:
        if cell.phase != "restart":
            traffic.advance()
        strike(stage, cell, cast, traffic)
        traffic.advance()
    judge(cell, cast, traffic)
    # It counts once it has answered.
    asked = len(traffic.seen)
    wait_until(f"{asked} requests to be counted", lambda: stage.answered(cast.asked) >= asked)
    assert stage.answered(cast.asked) == asked
    assert all(stub.alive for stub in helpers)
    replaced = not set(before) & set(stage.stubs(cast.victim))
    assert replaced == (cell.is_replaced or cell.phase == "restart")


def strike(stage: Stage, cell: Cell, cast: Cast, traffic: Traffic) -> None:
    chance = random.Random(cell.name)
    again = cell.phase in ("gather", "respond") and cell.fault not in ("ENOMEM", "EMFILE")
    for blow in range(BLOWS if again else 1):
        if blow > 0:
            traffic.advance()
        time.sleep(chance.uniform(0, 0.1))
        if cell.phase in ON_A_THREAD and cell.fault in FROM_OUTSIDE:
            (stub,) = stage.stubs(cast.victim)
            os.kill(stub.pid, signal.Signals[cell.fault])
            stage.afterwards(cell, stub.pid)
            continue
        if cell.phase != "restart":
            stage.plant(cast.victim, cast.point, cell.fault)
        stage.afterwards(cell, stage.victim_of(cast.victim))


def judge(cell: Cell, cast: Cast, traffic: Traffic) -> None:
    assert traffic.wrong == []
    expected = cell.request_error(f"{cast.victim}_0")
    unexpected = [error for error in traffic.errors if expected is None or not re.search(expected, error)]
    assert unexpected == []
    if cell.outcome in ("lost", "told"):
        assert traffic.errors != []


# --- the matrix itself ---


def test_the_grid_says_something_of_each_cell() -> None:
    rows = [line.split() for line in GRID.strip().splitlines()[1:]]
    assert all(len(row) == 1 + len(FAULTS) for row in rows)
    words = {word for row in rows for word in row[1:]}
    assert words == {*OUTCOMES, *LEFT_OUT}


def test_the_fifth_has_each_phase_fault_and_outcome() -> None:
    fifth = [cell for cell in CELLS if cell.name in FIFTH]
    assert len(fifth) == len(FIFTH) == len(set(FIFTH))
    assert {cell.phase for cell in fifth} == {*PHASES}
    assert {cell.fault for cell in fifth} == {*FAULTS}
    assert {cell.outcome for cell in fifth} == {*OUTCOMES}
