"""What all comparisons share: one way to time a whole process, and one line that names the machine."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# An installed program has its bytecode beside it. From a checkout Python writes that at the first run,
# unless told not to: then every run would compile all of the source anew, and that would be what is measured.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

__all__ = ["Run", "at_rest", "interleaved", "machine", "median", "run", "table"]


@dataclass(frozen=True, slots=True)
class Run:
    """One whole process: seconds on the wall, seconds of CPU with its children, peak resident MiB, exit code."""

    wall: float
    cpu: float
    rss: float
    rc: int


def run(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None, log: Path | None = None
) -> Run:
    """Run and reap by wait4, so that the figures are the kernel's own."""
    out = log.open("ab") if log else subprocess.DEVNULL
    start = time.monotonic()
    child = subprocess.Popen(
        argv, env={**os.environ, **(env or {})}, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
    )
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, child.returncode)


def at_rest(patience: float = 60.0) -> None:
    """Wait until nine tenths of the processors' time are idle for two seconds: what was installed still starts."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        before = _processors()
        time.sleep(2)
        idle, all_of_it = (b - a for a, b in zip(before, _processors(), strict=True))
        if idle >= 0.9 * all_of_it:
            return


def _processors() -> tuple[int, int]:
    """Ticks since boot, idle or waiting for a disk, and all of them (proc(5): the first line of /proc/stat)."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def interleaved(commands: Mapping[str, Callable[[], Run]], rounds: int) -> dict[str, list[Run]]:
    """A B A B …: a drift of the machine's speed meets all of them alike. One round before is not counted."""
    for command in commands.values():
        command()
    results: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            results[name].append(command())
    return results


def median(runs: Sequence[Run], field: str = "wall") -> float:
    return float(statistics.median(getattr(r, field) for r in runs))


def machine() -> str:
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "?",
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024 / 1024
    return (
        f"{os.cpu_count()} × {model}, {memory:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}"
    )


def table(results: Mapping[str, Sequence[Run]]) -> str:
    """Markdown: median (min to max) of the wall, CPU and peak memory, exit codes."""
    lines = ["| command | wall s | CPU s | peak MiB | exit |", "|---|---|---|---|---|"]
    for name, runs in results.items():
        wall = f"{median(runs):.3f} ({min(r.wall for r in runs):.3f} to {max(r.wall for r in runs):.3f})"
        codes = ",".join(sorted({str(r.rc) for r in runs}))
        lines.append(f"| {name} | {wall} | {median(runs, 'cpu'):.2f} | {max(r.rss for r in runs):.0f} | {codes} |")
    return "\n".join(lines)
