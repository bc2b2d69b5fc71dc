"""Where results go: bench/results/NAME.md, and from there into docs/explanation/performance.md.

python bench/results.py     puts all results between the markers of that page
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from common import machine

__all__ = ["Part", "measured", "publish"]

Part = tuple[list[str], bool]
"""Lines of a result, and whether what was to be reached was."""

_RESULTS = Path(__file__).parent / "results"
_PAGE = Path(__file__).parents[1] / "docs/explanation/performance.md"
_BEGIN, _END = "<!-- results: begin (bench/run_all.sh) -->", "<!-- results: end -->"
_ORDER = ("noop", "fresh", "fresh-held", "weekly", "platform", "recovery", "fleet", "help", "failover")


def measured(parts: Mapping[str, Callable[[], Part]]) -> tuple[list[str], list[str]]:
    """Lines of all parts, and the names of those that missed. What one could not do must not cost the others' figures:
    it is told among the lines."""
    lines: list[str] = []
    missed = []
    for name, part in parts.items():
        print(f"-- {name} ({time.strftime('%H:%M:%S')})", flush=True)
        try:
            said, reached = part()
        except (Exception, SystemExit) as problem:
            said, reached = [f"NOT MEASURED, {name}: {type(problem).__name__}: {str(problem)[-600:]}"], False
        lines += [*said, ""] if said else []
        missed += [] if reached else [name]
    return lines, missed


def publish(name: str, title: str, lines: list[str]) -> None:
    """Print a result and write it, with the machine, the day and how loaded the machine was."""
    load = " ".join(Path("/proc/loadavg").read_text().split()[:3])
    said = f"{machine()}; {time.strftime('%Y-%m-%d', time.gmtime())}; load averages at the end {load}"
    text = "\n".join([f"### {title}", "", said, "", *lines]).rstrip() + "\n"
    print(text)
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / f"{name}.md").write_text(text)


def collect() -> None:
    found = [_RESULTS / f"{name}.md" for name in _ORDER]
    texts = [path.read_text().strip() for path in found if path.exists()]
    page = _PAGE.read_text()
    head, _, rest = page.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    _PAGE.write_text(f"{head}{_BEGIN}\n\n" + "\n\n".join(texts) + f"\n\n{_END}{tail}")


if __name__ == "__main__":
    collect()
