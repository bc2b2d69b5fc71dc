"""What scripts of the bench make of what they read: memory of a host, alerts as they come, sizes of a database.

No lab is needed to import it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from ruamel.yaml import YAML

__all__ = ["Fault", "Memory", "Taken", "arrivals", "memory_of", "memory_table", "waiting_times", "within"]

_MIB = 1 << 20
# Where `kernel` is not in memory.stat (Linux before 5.18).
_KERNEL = ("slab", "kernel_stack", "pagetables", "percpu", "vmalloc")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a cgroup: what programs hold, what the kernel holds for them, and the page cache beside it."""

    anon: int
    kernel: int
    cache: int

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.anon + other.anon, self.kernel + other.kernel, self.cache + other.cache)


def memory_of(statistics: str, kernel: int = 0) -> Memory:
    """From the text of memory.stat. `kernel`: memory.kmem.usage_in_bytes, which cgroup v1 keeps in a file of its own.

    Raises KeyError for a text that is no memory.stat.
    """
    found = {name: int(number) for name, number in (line.split() for line in statistics.splitlines())}
    if "total_rss" in found:
        return Memory(found["total_rss"], kernel, found["total_cache"])
    own = found["kernel"] if "kernel" in found else sum(found.get(name, 0) for name in _KERNEL)
    return Memory(found["anon"], own, found["file"])


def memory_table(hosts: Mapping[str, Memory]) -> list[str]:
    """MiB, and the sum of all."""
    lines = ["| host | programs MiB | kernel MiB | together MiB | page cache beside it MiB |", "|---|---|---|---|---|"]
    for name, one in {**hosts, "all": sum(hosts.values(), Memory(0, 0, 0))}.items():
        numbers = (one.anon, one.kernel, one.anon + one.kernel, one.cache)
        lines.append(f"| {name} | {' | '.join(f'{number / _MIB:.0f}' for number in numbers)} |")
    return lines


# ---- alerts ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, how it is made and mended, and the alert that must come: its name, and labels of it alone."""

    name: str
    alert: str
    labels: Mapping[str, str]
    make: Callable[[], object]
    mend: Callable[[], object]


def arrivals(
    faults: Sequence[Fault], has_come: Callable[[Fault], bool], most: float, *, pause: float = 0.25
) -> dict[str, float | None]:
    """Makes the faults, one after the other, and waits for their alerts; mends them whatever happens.

    Seconds by name, from just before the fault was made; None: not within `most` seconds after the first. SystemExit
    where an alert was there before its fault.
    """
    early = [fault.name for fault in faults if has_come(fault)]
    if early:
        raise SystemExit(f"the alert was there before the fault: {', '.join(early)}")
    begun: dict[str, float] = {}
    came: dict[str, float | None] = dict.fromkeys(fault.name for fault in faults)
    with ExitStack() as mending:  # all of it, whatever fails
        for fault in reversed(faults):
            mending.callback(_mend, fault, begun)
        for fault in faults:
            begun[fault.name] = time.monotonic()
            fault.make()
        end = min(begun.values()) + most
        while None in came.values() and time.monotonic() < end:
            for fault in faults:
                if came[fault.name] is None and has_come(fault):
                    came[fault.name] = time.monotonic() - begun[fault.name]
            time.sleep(pause)
    return came


def _mend(fault: Fault, begun: Mapping[str, float]) -> None:
    if fault.name in begun:
        fault.mend()


def waiting_times(rules: str) -> dict[tuple[str, str], str]:
    """`for:` of each alert of a file of rules, by name and severity; those that wait for nothing are left out."""
    groups = YAML(typ="safe").load(rules)["groups"]
    return {
        (rule["alert"], rule["labels"]["severity"]): str(rule["for"])
        for group in groups
        for rule in group["rules"]
        if "alert" in rule and "for" in rule
    }


# ---- backups -----------------------------------------------------------------------------------------------------

_STEPS = ("look", "snapshot", "check", "restore", "files", "fetch", "verify")


@dataclass(frozen=True, slots=True)
class Taken:
    """Backups of a database of `size` bytes: seconds of a whole process and of its steps, seconds of the filling before
    them, bytes of the bundle."""

    size: int
    keys: int
    bundle: int
    seconds: float
    steps: Mapping[str, float]
    rounds: int
    filled: float = 0.0

    @staticmethod
    def heading() -> list[str]:
        titles = ("database MB", "keys", "bundle MB", "rounds", "`backup etcd` s", *_STEPS)
        return [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]

    def row(self) -> str:
        cells = [
            f"{self.size / 1e6:.1f}",
            str(self.keys),
            f"{self.bundle / 1e6:.1f}",
            str(self.rounds),
            f"**{self.seconds:.1f}**",
            *(f"{self.steps.get(name, 0.0):.2f}" for name in _STEPS),
        ]
        return f"| {' | '.join(cells)} |"


def within(left: float, target: float, filling: float, first: Taken, last: Taken) -> bool:
    """Whether filling up to `target` bytes, which ends after `filling` seconds, and a backup fit in `left` seconds.

    Going by the size before: what a backup takes of any database was seen at the `first`, the rest grows with the size.
    """
    times = target / max(last.size, 1)
    grows = max(last.seconds - first.seconds, 0.0) * times
    return min(last.filled * times, filling) + first.seconds + grows <= left
