"""The machine below: space, memory, clock, kernel, packages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from mlops_infra.core import Change, Probe
from mlops_infra.doctor.check import EVERYBODY, NODES, OK, Check, Finding, Severity, Skipped, Verdict, on_host
from mlops_infra.doctor.probes import MACHINE, SWAPS, SYSTEM, said
from mlops_infra.doctor.view import View
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.phases.distribution import time_service

__all__ = ["HOSTS", "changes_of", "drifted"]

_FULL, _LOW = 0.05, 0.15
"""Free shares of a file system: below the first nothing can be relied on; below the second the kubelet starts to
remove images, then pods (its imagefs.available is 15 %)."""
_SKEW_WARN, _SKEW_BAD = 15.0, 30.0
"""Seconds. Hosts are not looked at in one instant, and a busy controller spreads the looks over several seconds."""
_CONTAINERS = ("systemd-nspawn", "lxc", "lxc-libvirt", "docker", "podman", "container-other")
_TOLD_ELSEWHERE = re.compile(
    r"(containerd|kubelet|haproxy|keepalived|chrony|systemd-timesyncd|mlops-infra-[\w-]+)\.(service|timer)"
)


def changes_of(view: View, host: str, *patterns: str) -> tuple[Change, ...]:
    """What `up` would change on a host, of the resources whose id fits one of these."""
    return tuple(c for c in view.changes(host) if any(re.search(p, c.resource) for p in patterns))


def drifted(cause: str, *patterns: str) -> Callable[[View, str], Verdict]:
    """A judge that tells the drift of some resources."""

    def judge(view: View, host: str) -> Verdict:
        if view.plan is None:
            return Skipped(view.no_plan or "no plan could be made")
        changes = changes_of(view, host, *patterns)
        if not changes:
            return OK
        return Finding(brief_of(changes), evidence_of(changes), cause, f"mlops-infra up --limit {host}")

    return judge


def brief_of(changes: tuple[Change, ...]) -> str:
    return "; ".join(f"{c.title}: {c.reason}" for c in changes)


def evidence_of(changes: tuple[Change, ...], lines: int = 8) -> str:
    said_lines = [line for c in changes for line in c.diff.splitlines()]
    more = len(said_lines) - lines
    return "\n".join(said_lines[:lines] + ([f"… and {more} lines more"] if more > 0 else []))


def _machine(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    del cluster, host
    return frozenset({MACHINE, SYSTEM})


def _file_systems(view: View, host: str, key: str) -> Iterator[tuple[str, int, int]]:
    """Mount point, used and free of each file system once, as df tells."""
    seen = set()
    for line in (said(view.facts(host), MACHINE) or {}).get(key, ()):
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[2].isdigit() and fields[3].isdigit() and fields[1] != "0":
            size = (fields[1], fields[2], fields[3])
            if size not in seen:
                seen.add(size)
                yield fields[5], int(fields[2]), int(fields[3])


def _space(key: str, what: str, unit: Callable[[int], str]) -> Callable[[View, str], Verdict]:
    def judge(view: View, host: str) -> Verdict:
        if said(view.facts(host), MACHINE) is None:
            return Skipped("df did not answer")
        found = []
        for mount, used, free in _file_systems(view, host, key):
            share = free / (used + free) if used + free else 1.0
            if share < _LOW:
                found.append((share, f"{mount}: {share:.0%} of {what} free ({unit(free)})"))
        if not found:
            return OK
        worst = min(found)
        return Finding(
            worst[1],
            "\n".join(text for _, text in sorted(found)),
            "logs, images nobody uses, or data that outgrew the disk; etcd stops when it cannot write, and the kubelet "
            "evicts pods",
            on_host(host, "journalctl -q --vacuum-size=200M; apt-get clean; crictl rmi --prune; df -h / /var/lib"),
            severity=Severity.CRITICAL
            if worst[0] < _FULL and view.cluster.role(host) == "master"
            else None
            if worst[0] < _FULL
            else Severity.WARNING,
        )

    return judge


def _time(view: View, host: str) -> Verdict:
    kind = view.cluster.host.time_sync
    unit = time_service(kind)[1] if kind != "none" else ""
    skew = view.clocks.get(host, 0.0)
    changes = changes_of(view, host, rf"^unit:{re.escape(unit)}$") if unit else ()
    if abs(skew) > _SKEW_WARN:
        step = "chronyc -a makestep" if kind == "chrony" else f"systemctl restart {unit}" if unit else "hwclock -s"
        return Finding(
            f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the others",
            "",
            "no time synchronisation, or one that does not reach its server; certificates and etcd suffer from it",
            f"mlops-infra up --limit {host}" if changes else on_host(host, step),
            severity=Severity.ERROR if abs(skew) > _SKEW_BAD else None,
        )
    if changes:
        return Finding(
            f"nobody keeps its clock: {unit} is {changes[0].reason}",
            evidence_of(changes),
            "the service was stopped or failed",
            f"mlops-infra up --limit {host}",
        )
    system = view.facts(host).value(SYSTEM)
    lines = said(view.facts(host), MACHINE)
    if system is None or lines is None:
        return Skipped("the clock was not told")
    if unit and lines.get("synchronised") == ("no",) and system.virtualization not in _CONTAINERS:
        return Finding(
            "its clock is not synchronised",
            "timedatectl: NTPSynchronized=no",
            "the time servers do not answer",
            on_host(host, "chronyc -n sources" if kind == "chrony" else "timedatectl timesync-status"),
        )
    return OK


def _swap(view: View, host: str) -> Verdict:
    if view.cluster.host.swap != "off":
        return Skipped("cluster.yaml keeps swap")
    areas = view.facts(host).value(SWAPS) or ()
    # Where the hosts share a kernel that is not theirs, its swap areas are not either: the plan knows.
    changes = changes_of(view, host, "^swap$")
    if view.plan is not None and not changes:
        return OK
    if not changes and not areas:
        return OK
    active = bool(areas) and any("swap:" in c.diff for c in changes)
    return Finding(
        f"swap is on: {', '.join(areas)}" if active else "swap comes back at the next boot",
        evidence_of(changes),
        "an entry in /etc/fstab, a swap unit or zram; a kubelet that meets swap does not start",
        f"mlops-infra up --limit {host}",
        severity=Severity.ERROR if active else None,
    )


def _units(view: View, host: str) -> Verdict:
    lines = said(view.facts(host), MACHINE)
    if lines is None:
        return Skipped("systemd did not answer")
    failed = [u for u in lines.get("failed", ()) if u and not _TOLD_ELSEWHERE.fullmatch(u)]
    if not failed:
        return OK
    names = " ".join(failed)
    return Finding(
        f"failed: {', '.join(failed)}",
        "",
        "a service ended with an error and was not started again",
        on_host(host, f"systemctl restart {names}"),
    )


def _swap_needs(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    del cluster, host
    return frozenset({SWAPS})


def _kib(number: int) -> str:
    return f"{number / 1048576:.1f} GiB"


def _count(number: int) -> str:
    return f"{number}"


HOSTS: tuple[Check, ...] = (
    Check(
        "host.disk",
        "Is there space on the disks?",
        Severity.ERROR,
        _space("disk", "space", _kib),
        "Looks at /, /var and what lies below /var/lib for etcd, containerd and the kubelet. Warns below 15 % "
        "free, where the kubelet begins to remove images; below 5 % it is an error, on a master a critical one.",
        needs=_machine,
    ),
    Check(
        "host.inodes",
        "Are there inodes left?",
        Severity.ERROR,
        _space("inodes", "inodes", _count),
        "A file system without inodes is full although df shows space: many small files, often old container layers.",
        needs=_machine,
    ),
    Check(
        "host.time",
        "Does somebody keep the clock, and is it right?",
        Severity.WARNING,
        _time,
        "Compares the clocks of all hosts with their median (over 15 s warns, over 30 s is an error), and looks at the "
        "service of `host.time_sync`. Containers have the clock of their machine: there it is not asked whether it is "
        "synchronised.",
        needs=_machine,
        plan=True,
        claims=(r"^unit:(systemd-timesyncd|chrony)\.service$",),
    ),
    Check(
        "host.swap",
        "Is swap off for good?",
        Severity.WARNING,
        _swap,
        "Swap in use, an entry of /etc/fstab, a swap unit or zram: a kubelet that meets swap does not start.",
        roles=NODES,
        needs=_swap_needs,
        plan=True,
        claims=("^swap$",),
    ),
    Check(
        "host.modules",
        "Are the kernel modules loaded?",
        Severity.ERROR,
        drifted("the modules were unloaded, or their file below /etc/modules-load.d was removed", "^kernel-modules:"),
        "overlay carries containers, br_netfilter lets Services work between pods of one node.",
        roles=EVERYBODY,
        plan=True,
        claims=("^kernel-modules:",),
    ),
    Check(
        "host.sysctl",
        "Does the kernel run with our settings?",
        Severity.ERROR,
        drifted("somebody or something set another value, now or for the next boot", "^sysctls:"),
        "Without net.ipv4.ip_forward and the bridge settings packets between pods are dropped. Looks at the running "
        "values and at the file that sets them at boot.",
        plan=True,
        claims=("^sysctls:",),
    ),
    Check(
        "host.packages",
        "Are the packages there, of the right version and held?",
        Severity.WARNING,
        drifted(
            "a package was changed by hand, or its hold was removed: the next apt upgrade may change it", "^packages:"
        ),
        "containerd and Kubernetes packages are held: an upgrade behind our back has taken API servers down.",
        plan=True,
        claims=("^packages:",),
    ),
    Check(
        "host.units",
        "Has a service of the machine failed?",
        Severity.WARNING,
        _units,
        "`systemctl --failed`, without the services that other checks look at.",
        needs=_machine,
    ),
)
