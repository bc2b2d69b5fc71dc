"""The generated page of commands."""

from __future__ import annotations

from pathlib import Path

from mlops_infra.cli.main import COMMANDS
from mlops_infra.cli.reference import reference


def test_the_page_of_commands_is_what_the_commands_say(root: Path) -> None:
    page = root / "docs" / "reference" / "commands.md"
    assert page.read_text() == reference(), "stale: run `make docs`"


def test_the_page_names_every_command() -> None:
    page = reference()
    for name in COMMANDS:
        assert f"## `mlops-infra {name}`" in page
