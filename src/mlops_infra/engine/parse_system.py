"""The host's description of itself, from the `sys` records of the observe script."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from mlops_infra.core.probe import SystemFact

__all__ = ["system_fact"]

# `uname -m` as Debian, Kubernetes and its artifacts spell it.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf", "ppc64le": "ppc64el"}


def system_fact(pairs: Iterable[tuple[str, ...]]) -> SystemFact:
    """Raises ValueError when something that every host has is missing."""
    one: dict[str, str] = {}
    addresses: list[str] = []
    release: dict[str, str] = {}
    for key, value in ((p[0], p[1] if len(p) > 1 else "") for p in pairs):
        match key:
            case "addr":
                addresses.append(value)
            case "os":
                name, _, raw = value.partition("=")
                release[name] = _unquoted(raw)
            case _:
                one[key] = value
    missing = {"kernel", "hostname", "machine", "clock", "cgroup", "memory", "cpus"} - one.keys()
    if missing:
        raise ValueError(f"no {', '.join(sorted(missing))}")
    return SystemFact(
        os_id=release.get("ID", ""),
        os_version=release.get("VERSION_ID", ""),
        codename=release.get("VERSION_CODENAME", ""),
        arch=_ARCHITECTURES.get(one["machine"], one["machine"]),
        kernel=one["kernel"],
        hostname=one["hostname"],
        machine_id=one.get("machine_id", ""),
        cpus=_cpus(one["cpus"]),
        memory=_memory(one["memory"]),
        clock=_clock(one["clock"]),
        cgroup_version=int(one["cgroup"]),
        addresses=tuple(dict.fromkeys(a for a in addresses if not a.startswith("127."))),
        virtualization=one.get("virt", ""),
    )


def _unquoted(raw: str) -> str:
    try:
        return "".join(shlex.split(raw))
    except ValueError:
        return raw


def _cpus(online: str) -> int:
    """`0-3,8` of /sys/devices/system/cpu/online."""
    if not online:
        return 1
    return sum(int(b or a) - int(a) + 1 for a, _, b in (part.partition("-") for part in online.split(",")))


def _memory(line: str) -> int:
    """`MemTotal:  24689676 kB` of /proc/meminfo, in bytes."""
    found = re.fullmatch(r"MemTotal:\s+(\d+) kB", line)
    if not found:
        raise ValueError(f"memory {line!r}")
    return int(found[1]) * 1024


def _clock(text: str) -> float:
    """`date +%s.%N`; some date commands know no %N."""
    found = re.match(r"\d+(\.\d+)?", text)
    if not found:
        raise ValueError(f"clock {text!r}")
    return float(found[0])
