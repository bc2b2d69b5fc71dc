"""Writes docs/reference/checks/ from the checks themselves: `make docs`; a test finds stale pages."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from mlops_infra.doctor.catalogue import CHECKS
from mlops_infra.doctor.check import Check

__all__ = ["pages", "write"]

_NOTE = "<!-- Written by `make docs` from the checks themselves; edit those. -->"


def pages() -> Mapping[str, str]:
    """Name of the file → its text: a page a check, and README.md that lists them."""
    found = {f"{check.id}.md": _page(check) for check in CHECKS}
    return {"README.md": _index(), **found}


def write(directory: Path) -> None:
    """All pages, and no other: a page of a check that is gone goes too."""
    directory.mkdir(parents=True, exist_ok=True)
    wanted = pages()
    for old in directory.glob("*.md"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        (directory / name).write_text(text)


def _index() -> str:
    lines = [
        "# Checks of `mlops-infra doctor`",
        "",
        _NOTE,
        "",
        "In the order in which one thing stands on another. `mlops-infra explain ID` says the same as a page.",
        "",
        "| Check | Asks | Severity |",
        "|---|---|---|",
    ]
    lines += [f"| [{c.id}]({c.id}.md) | {c.title} | {_severity(c)} |" for c in CHECKS]
    return "\n".join(lines) + "\n"


def _page(check: Check) -> str:
    explains = [c.id for c in CHECKS if check.id in c.depends_on]
    who = "each " + ", ".join(sorted(check.roles)) if check.scope == "host" else "the platform as a whole"
    lines = [
        f"# {check.id}",
        "",
        _NOTE,
        "",
        check.title,
        "",
        check.explanation,
        "",
        f"- Severity: {_severity(check)}",
        f"- Asked of: {who}",
    ]
    lines += [f"- Findings of these explain it: {_links(check.depends_on)}"] if check.depends_on else []
    lines += [f"- Explains findings of: {_links(explains)}"] if explains else []
    lines += ["", f"`mlops-infra doctor --only {check.id}` asks this alone, and what may be behind it."]
    return "\n".join(lines) + "\n"


def _severity(check: Check) -> str:
    return "advice" if check.advice else check.severity.word


def _links(ids: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"[{i}]({i}.md)" for i in ids)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
