"""docs/reference/faults.md: what the doctor made of faults that were made for real, from the lines that tests/lab kept.

MLOPS_INFRA_FAULTS=faults.jsonl pytest tests/lab/test_doctor.py
python bench/faults.py faults.jsonl ["what else the machine did meanwhile"]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common import machine

_PAGE = Path(__file__).parents[1] / "docs/reference/faults.md"
_HEAD = """\
# Faults made for real, and what the doctor said

Written by `python bench/faults.py` from a run of `tests/lab/test_doctor.py`: do not edit. Every fault was made on the
reference platform in the lab (three masters, three workers, a load balancer), healthy before. Then `doctor` was
run until its first finding was the cause; what that finding printed as its remedy was run as it stood; and the platform
was healthy when a whole look found nothing. Where no command mends a fault (a power cut, a way that is filtered, a pod
whose image does not exist), the test took away what it had made.

"First finding": its check, the host it is about, its words. "Told after": seconds from the fault to the end of the
look that told the cause; "look": what that look alone took. "Healthy after": seconds from there to the end of a look
without a finding, with the remedy in between. "Below, beside": findings told as what follows from another, and others.
"""


def page(lines: Iterable[Mapping[str, Any]], machine_: str, meanwhile: str) -> str:
    """The newest line of each fault counts."""
    last = {tuple(line["faults"]): line for line in lines}
    loads = sorted(line["load"] for line in last.values())
    days = sorted({line["at"][:10] for line in last.values()})
    when = " to ".join(dict.fromkeys((days[0], days[-1])))
    how = [machine_, when, f"load averages {loads[0]:g} to {loads[-1]:g}", *([meanwhile] if meanwhile else [])]
    parts = [_HEAD, "; ".join(how) + ".\n"]
    for title, several in (("One at a time", False), ("Two at once", True)):
        rows = [line for faults, line in last.items() if (len(faults) > 1) is several]
        if rows:
            parts += [f"## {title}\n", f"{_sum(rows)}\n", _table(rows)]
    return "\n".join(parts)


def _sum(rows: list[Mapping[str, Any]]) -> str:
    right = sum(row["correct"] for row in rows)
    well = [row for row in rows if row["mended"] is not None]
    printed = sum(not row["taken_back"] for row in well)
    return (
        f"{len(rows)} in all; the cause told first: {right}. Healthy again: {len(well)}, of these {printed} by what "
        f"was printed and {len(well) - printed} after the test had taken a fault back (marked *)."
    )


def _table(rows: list[Mapping[str, Any]]) -> str:
    lines = [
        "| fault | first finding | correct | look s | told after s | healthy after s | below, beside |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        found = "<br>".join(_finding(*one) for one in row["first"])
        beside = row["findings"] - len(row["faults"])
        mended = "**not**" if row["mended"] is None else f"{row['mended']:.0f}" + " *" * bool(row["taken_back"])
        lines.append(
            f"| {'<br>'.join(row['faults'])} | {found or 'none'} | {'yes' if row['correct'] else '**no**'} "
            f"| {row['run']:.1f} | {row['told']:.0f} | {mended} | {row['folded']}, {beside} |"
        )
    return "\n".join(lines) + "\n"


def _finding(check: str, host: str, brief: str) -> str:
    words = (f"{host}: " if host else "") + brief.replace("|", "\\|")
    return f"[{check}](checks/{check}.md) {words}"


if __name__ == "__main__":
    text = Path(sys.argv[1]).read_text().splitlines()
    _PAGE.write_text(page(map(json.loads, text), machine(), " ".join(sys.argv[2:])))
