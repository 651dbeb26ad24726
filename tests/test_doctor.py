"""`triton-python doctor`: what it prints, how it ends, what it leaves alone."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from command import Ports, run
from doctoring import examine
from trees import snapshot

from triton_python import CheckResult, __version__, diagnose
from triton_python._doctor import CHECKS, Check, Subject, worst
from triton_python._doctor.result import Finding

CHECKS_OF_MACHINE = [
    "interpreter",
    "compiled-module",
    "numpy",
    "server",
    "server-start",
    "glibc",
    "backend",
    "server-backend",
    "memory",
    "memfd",
    "descriptors",
    "instances",
    "ports",
]


@pytest.fixture(autouse=True)
def the_server(monkeypatch: pytest.MonkeyPatch, triton_server_binary: Path) -> None:
    monkeypatch.setenv("TRITON_SERVER", str(triton_server_binary))


def test_all_is_well_here() -> None:
    report = examine()

    assert report.exit_status == 0
    # What this machine allows is not ours to say.
    assert report.unwell() <= {"memory", "descriptors"}
    assert list(report.results) == CHECKS_OF_MACHINE


def test_json_has_a_stable_shape() -> None:
    content = json.loads(run("doctor", "--json", *Ports().options()).stdout)

    assert list(content) == ["version", "status", "checks"]
    assert content["version"] == __version__
    for one in content["checks"]:
        assert list(one) == ["name", "status", "found", "advice"]
        assert bool(one["advice"]) == (one["status"] != "ok")
        assert "\n" not in one["found"] + one["advice"]


def test_people_get_a_line_for_each_check_and_one_for_each_advice() -> None:
    ports = Ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports.of["http"]))
        taken.listen()

        result = run("doctor", *ports.options())

    assert result.returncode == 1
    lines = result.stdout.splitlines()
    checks = [line.split()[:2] for line in lines if not line.startswith(" ")]
    assert [name for _, name in checks] == CHECKS_OF_MACHINE
    assert ["failed", "ports"] in checks
    assert "→ stop the program that listens there, or choose another port with --http-port" in lines[-1]


def test_it_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not even the cache is made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "models" / "m" / "1").mkdir(parents=True)
    (tmp_path / "models" / "m" / "1" / "model.py").write_text("raise AssertionError\n")
    before = snapshot(tmp_path)

    examine(str(tmp_path / "models"))

    assert snapshot(tmp_path) == before


def test_from_python_it_is_the_same(tmp_path: Path) -> None:
    results = diagnose([str(tmp_path)])

    assert [result.name for result in results] == [*CHECKS_OF_MACHINE, "models"]
    assert all(isinstance(result, CheckResult) for result in results)


def test_warnings_alone_end_with_0(tmp_path: Path) -> None:
    model = tmp_path / "models" / "with space" / "1"
    model.mkdir(parents=True)
    (model / "model.py").write_text("auto_complete_config")

    report = examine(str(tmp_path / "models"))

    assert (report.exit_status, report.status) == (0, "warning")
    assert report["models"].status == "warning"


@pytest.mark.parametrize(
    ("statuses", "whole"),
    [([], "ok"), (["ok"], "ok"), (["warning", "ok"], "warning"), (["ok", "failed", "warning"], "failed")],
)
def test_the_worst_decides(statuses: list[str], whole: str) -> None:
    assert worst(statuses) == whole  # type: ignore[arg-type]


def test_a_check_that_breaks_is_a_finding() -> None:
    def look(subject: Subject) -> Finding:
        raise ZeroDivisionError("my own words")

    result = Check("broken", look).run(Subject())

    assert result.status == "failed"
    assert "ZeroDivisionError('my own words')" in result.found


def test_the_names_of_the_checks_are_documented() -> None:
    text = (Path(__file__).resolve().parent.parent / "docs" / "cli.md").read_text()
    text = text.split("\n## `triton-python doctor`\n")[1].split("\n## ")[0]

    documented = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert [check.name for check in CHECKS] == [
        name for name in documented if name in {c.name for c in CHECKS}
    ]
