"""docs/reference/checks/ says what the checks say."""

from __future__ import annotations

from pathlib import Path

from mlops_infra.doctor.pages import pages, write

CHECKED = Path(__file__).resolve().parents[3] / "docs" / "reference" / "checks"


def test_the_pages_of_the_checks_are_current() -> None:
    there = {p.name: p.read_text() for p in CHECKED.glob("*.md")}
    assert there == dict(pages()), "run `make docs`"


def test_a_page_of_a_check_that_is_gone_goes_too(tmp_path: Path) -> None:
    (tmp_path / "old.thing.md").write_text("x")
    write(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == set(pages())
