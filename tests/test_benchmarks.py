"""The comparison of backends: how rounds become medians and ratios, and a short run of all of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from comparison.cases import CASES, LATENCY, THROUGHPUT, Case, quick
from comparison.process import SHM_PREFIX, Failed, run
from comparison.results import CaseResult, Spread, short
from comparison.table import notes

RUN = Path(__file__).resolve().parent.parent / "benchmarks" / "run.py"


def wait_until_gone(pid: int) -> None:
    """A process that was killed is there for a moment yet. The test's time limit ends the wait."""
    with suppress(OSError):
        while Path(f"/proc/{pid}/cmdline").read_bytes():
            time.sleep(0.01)


def result(**rounds: list[float]) -> CaseResult:
    """The p50 of each backend, round by round."""
    found = CaseResult(Case("case", metric=LATENCY, target=0.5))
    for backend, figures in rounds.items():
        for number, figure in enumerate(figures):
            found.add(backend, number, {"p50_us": figure})
    return found


def test_a_spread_is_the_median_and_the_extremes() -> None:
    assert result(ours=[3.0, 1.0, 8.0]).spread("ours") == Spread(3.0, 1.0, 8.0)


def test_ratios_are_formed_within_a_round() -> None:
    """A machine that is slow for a while is slow for both; the medians alone would say 1."""
    found = result(ours=[10.0, 100.0, 20.0], upstream=[20.0, 200.0, 20.0])

    assert found.ratio("ours", "upstream") == Spread(0.5, 0.5, 1.0)


def test_a_round_that_only_one_backend_finished_gives_no_ratio() -> None:
    found = result(ours=[10.0, 30.0], upstream=[20.0])

    assert found.ratio("ours", "upstream") == Spread(0.5, 0.5, 0.5)
    assert result(ours=[10.0]).ratio("ours", "upstream") is None


def test_targets_are_upper_bounds_for_times_and_lower_bounds_for_throughput() -> None:
    assert Case("case", metric=LATENCY, target=0.4).meets_target(0.4) is True
    assert Case("case", metric=LATENCY, target=0.4).meets_target(0.41) is False
    assert Case("case", metric=THROUGHPUT, target=2.5).meets_target(2.5) is True
    assert Case("case", metric=THROUGHPUT, target=2.5).meets_target(2.4) is False
    assert Case("case").meets_target(0.1) is None


def test_wrong_answers_refusals_and_failures_are_told() -> None:
    found = result(ours=[1.0])
    found.add("upstream", 0, {"p50_us": 1.0, "wrong": 2, "first_difference": "OUT: differs at byte 0"})
    found.add("upstream", 1, {"p50_us": 1.0, "wrong": 3, "first_difference": "OUT: differs at byte 8"})
    found.refused["ours"] = "no strings"
    found.failed["floor"] = "it crashed"

    assert notes([found]) == [
        "case: ours refused: no strings",
        "case: floor FAILED: it crashed",
        "case: upstream WRONG: 5 wrong answers, the first: OUT: differs at byte 0",
    ]


@pytest.mark.parametrize(
    ("figure", "text"),
    [(0.1234, "0.123"), (7.46, "7.46"), (99.9, "99.9"), (123.4, "123"), (9999.0, "9999"), (12345.0, "12.3k")],
)
def test_figures_have_three_digits_that_matter(figure: float, text: str) -> None:
    assert short(figure) == text


def test_cases_have_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_quick_case_has_no_target() -> None:
    small = [quick(case) for case in CASES]

    assert all(case is None or case.target is None for case in small)
    assert any(small)


def test_a_program_that_does_not_end_is_ended_with_all_that_it_has_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"trap '' TERM; sleep 1000 & echo $! > {pid_file}; wait; wait"

    with pytest.raises(Failed, match="had not ended after 1 s"):
        run(["sh", "-c", script], tmp_path, tmp_path / "log", seconds=1)

    wait_until_gone(int(pid_file.read_text()))


def test_what_a_program_leaves_running_is_ended(tmp_path: Path) -> None:
    """As a server that crashes leaves NVIDIA's stubs."""
    status, output = run(
        ["sh", "-c", "sleep 1000 > /dev/null & echo $!; exit 3"], tmp_path, tmp_path / "log", seconds=60
    )

    assert status == 3
    wait_until_gone(int(output))


def test_shared_memory_that_nvidias_stub_leaves_is_removed(tmp_path: Path) -> None:
    mine = f"/dev/shm/{SHM_PREFIX}of_a_test_{uuid.uuid4().hex}"

    status, _ = run(["sh", "-c", f"echo x > {mine}"], tmp_path, tmp_path / "log", seconds=60)

    assert status == 0
    assert not Path(mine).exists()


def run_benchmarks(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, RUN, *options], capture_output=True, text=True, timeout=240)


def test_a_pattern_that_finds_nothing_is_told_what_there_is() -> None:
    found = run_benchmarks("--only", "videos")

    assert found.returncode == 2
    assert "identity-64B-c1" in found.stdout


def test_ours_has_to_be_among_the_backends() -> None:
    found = run_benchmarks("--backends", "floor")

    assert found.returncode == 2
    assert "--backends has to name ours" in found.stderr


@pytest.mark.more
def test_a_quick_run_measures_every_case(tmp_path: Path) -> None:
    output = tmp_path / "results.json"

    found = run_benchmarks("--quick", "--backends", "ours,floor", "--output", str(output))

    assert found.returncode == 0, found.stdout + found.stderr
    results = json.loads(output.read_text())
    cases = {case["case"]: case for case in results["cases"]}
    assert set(cases) == {case.name for case in CASES if quick(case)}
    assert results["machine"]["cores"] > 0
    assert not any(case["failed"] or case["wrong"] for case in cases.values())
    for name, case in cases.items():
        assert name in found.stdout
        for backend in {"ours", "floor"} - set(case["refused"]):
            assert len(case["backends"][backend]["rounds"]) == 2
            assert case["backends"][backend]["spread"]["median"] > 0
