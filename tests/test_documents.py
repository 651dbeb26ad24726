"""What the documents point to exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text())
    local = [link for link in links if not re.match(r"[a-z]+:", link)]

    assert [link for link in local if not (document.parent / link).exists()] == []


def test_the_commands_of_the_table_are_targets_of_the_makefile() -> None:
    table = re.findall(r"^\| `make ([a-z-]+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert table
    assert set(table) == set(targets) - {"help"}


def test_every_difference_from_nvidias_backend_has_a_line_and_a_test() -> None:
    """The names in docs/compatibility.md are those that mark what must fail there."""
    lines = re.findall(r"^\| `([a-z0-9-]+)` \|", (ROOT / "docs/compatibility.md").read_text(), re.MULTILINE)
    tests = "".join(one.read_text() for one in (ROOT / "tests/server/conformance").glob("test_*.py"))
    marked = set(re.findall(r"""mark\.differs\(\s*["']([^"']+)["']""", tests))

    assert len(lines) == len(set(lines))
    assert marked - set(lines) == set()
    assert [name for name in lines if f'"{name}"' not in tests] == []
