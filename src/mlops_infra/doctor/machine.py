"""What a machine runs short of, or is in the middle of: told by files of /proc and /run, without a program started."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mlops_infra.core import Probe
from mlops_infra.doctor.check import EVERYBODY, NODES, OK, Check, Finding, Severity, Verdict, asks_api, on_host
from mlops_infra.doctor.probes import MACHINE, OBJECTS, SYSTEM, said
from mlops_infra.doctor.view import View
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host

__all__ = ["MACHINE_CHECKS", "REBOOT"]

_NO_UUID = re.compile(r"(?i)0{8}-|f{8}-|03000200-")
"""What firmware says that was never given a number."""
_CONNTRACK_FULL = 0.75
_MEMORY_LOW = 0.02
"""Of all memory: at this the kernel begins to end processes; what is merely busy has its page cache to give."""


def _told(view: View, host: str, key: str) -> tuple[str, ...] | None:
    """None where the machine's script did not answer."""
    lines = said(view.facts(host), MACHINE)
    return None if lines is None else lines.get(key, ())


def _numbers(view: View, host: str, key: str) -> tuple[int, ...] | None:
    """The numbers of one line; None where it was not told."""
    words = " ".join(_told(view, host, key) or ()).split()
    return tuple(map(int, words)) if words and all(word.isdigit() for word in words) else None


def _conntrack(view: View, host: str) -> Verdict:
    numbers = _numbers(view, host, "conntrack")
    if numbers is None or len(numbers) != 2 or not numbers[1] or numbers[0] < _CONNTRACK_FULL * numbers[1]:
        return OK
    used, most = numbers
    return Finding(
        f"its table of connections is {used / most:.0%} full",
        f"nf_conntrack_count {used}, nf_conntrack_max {most}",
        "very many connections, or some that nobody closes; when it is full new ones are dropped without a word",
        on_host(host, f"sysctl -w net.netfilter.nf_conntrack_max={most * 2}"),
    )


def _memory(view: View, host: str) -> Verdict:
    numbers = _numbers(view, host, "memory")
    if numbers is None or len(numbers) != 2 or not numbers[0] or numbers[1] >= _MEMORY_LOW * numbers[0]:
        return OK
    total, free = numbers
    return Finding(
        f"{free / total:.1%} of its memory is left",
        f"MemAvailable {free // 1024} MiB of {total // 1024}",
        "a process that grows, or pods without limits; the kernel ends whatever is largest",
        on_host(host, "ps -eo pid,rss,comm --sort=-rss"),
    )


def _readonly(view: View, host: str) -> Verdict:
    # Of mounts over one another the last is seen.
    state = dict(line.split(" ", 1) for line in _told(view, host, "mount") or () if " " in line)
    places = [place for place, how in state.items() if how == "ro"]
    if not places:
        return OK
    return Finding(
        f"nothing can be written to {', '.join(places)}",
        "/proc/mounts: ro",
        "the kernel met an error of the disk and made the file system read-only, or it was mounted so",
        on_host(host, "dmesg --level=err,crit,alert,emerg"),
    )


def _dpkg(view: View, host: str) -> Verdict:
    half = _told(view, host, "half") or ()
    if not half and not _told(view, host, "dpkg"):
        return OK
    return Finding(
        "an installation of packages was interrupted" + (f": {', '.join(half[:4])}" if half else ""),
        "dpkg -l: unpacked and not configured" if half else "/var/lib/dpkg/updates is not empty",
        "an installation was killed, or the machine went off in the middle of one; or one is at work right now",
        on_host(host, "env DEBIAN_FRONTEND=noninteractive dpkg --configure -a"),
    )


def _resolver(view: View, host: str) -> Verdict:
    servers = _told(view, host, "stub")
    if not servers:
        return OK
    ends = _coredns_ends_on(view, host)
    return Finding(
        f"pods {'ask' if ends else 'would ask'} their own node for names: nameserver {', '.join(servers)}"
        + ("; CoreDNS asks itself, and ends with a loop" if ends else ""),
        "/etc/resolv.conf, and no /run/systemd/resolve/resolv.conf",
        "a resolver on the machine itself; CoreDNS forwards to it, is asked by it, and ends with a loop",
        on_host(host, "cat /etc/resolv.conf") + "   # then name there, or in the file of the kubelet's resolvConf, "
        "nameservers that pods reach",
        severity=Severity.ERROR if ends else None,
    )


def _coredns_ends_on(view: View, host: str) -> bool:
    """Whether a pod of CoreDNS on this node does not stay up."""
    return any(
        container.get("restartCount", 0) and not container.get("ready")
        for pod in view.objects(OBJECTS, "Pod") or ()
        if (pod.get("metadata", {}).get("labels") or {}).get("k8s-app") == "kube-dns"
        and pod.get("spec", {}).get("nodeName") == host
        for container in pod.get("status", {}).get("containerStatuses") or ()
    )


def _cgroup(view: View, _: str) -> Verdict:
    systems = {host.name: view.facts(host.name).value(SYSTEM) for host in view.cluster.nodes}
    old = [name for name, system in systems.items() if system is not None and system.cgroup_version == 1]
    if not old:
        return OK
    return Finding(
        f"{', '.join(old)}: cgroup v1 is in use, which Kubernetes 1.35 and later refuse",
        "",
        "the kernel was started with systemd.unified_cgroup_hierarchy=0, or is an old one",
        on_host(old[0], "grep -r unified_cgroup_hierarchy /etc/default/grub /proc/cmdline"),
        hosts=tuple(old),
    )


_ALIKE: tuple[tuple[str, Callable[[View, str], str], str, str], ...] = (
    # What is the same, how it is told, why that hurts, and the command for the second of them.
    (
        "machine-id",
        lambda view, host: getattr(view.facts(host).value(SYSTEM), "machine_id", ""),
        "they were copied from one image; what tells machines apart by it (DHCP, the journal) takes them for one",
        "rm -f /etc/machine-id && systemd-machine-id-setup",
    ),
    (
        "hostname",
        lambda view, host: getattr(view.facts(host).value(SYSTEM), "hostname", ""),
        "they were copied from one image; logs and metrics of one are taken for the other's",
        "hostnamectl set-hostname NAME",
    ),
    (
        "MAC address",
        lambda view, host: " ".join(_told(view, host, "mac") or ()),
        "virtual machines copied with their cards: switches send what is for one to the other",
        "ip -br link",
    ),
    (
        "product_uuid",
        lambda view, host: " ".join(u for u in _told(view, host, "uuid") or () if not _NO_UUID.match(u)),
        "virtual machines copied with their definition; the kubelet tells machines apart by it",
        "cat /sys/class/dmi/id/product_uuid",
    ),
)


def _unique(view: View, _: str) -> Verdict:
    found = []
    for what, value_of, cause, command in _ALIKE:
        by_value: dict[str, list[str]] = {}
        for host in view.cluster.all_hosts:
            if value := value_of(view, host.name):
                by_value.setdefault(value, []).append(host.name)
        found += [
            Finding(
                f"{', '.join(names)} have the same {what}",
                value,
                cause,
                on_host(names[1], command) + "   # then reboot it",
                hosts=tuple(names),
            )
            for value, names in by_value.items()
            if len(names) > 1
        ]
    return tuple(found) or OK


def _older_kernel(view: View, host: str) -> str:
    """The newest installed kernel of the running one's kind, where it is newer; empty where not."""
    system = view.facts(host).value(SYSTEM)
    if system is None:
        return ""

    def parts(version: str) -> tuple[str, list[int]]:
        """Kind (amd64, generic …) and numbers."""
        return version.rpartition("-")[2], [int(n) for n in re.findall(r"\d+", version)]

    kind, running = parts(system.kernel)
    alike = [v for v in _told(view, host, "kernel") or () if parts(v)[0] == kind]
    newest = max(alike, key=lambda v: parts(v)[1], default="")
    # One that runs and is not installed any more says nothing about the others.
    return newest if system.kernel in alike and parts(newest)[1] > running else ""


def _reboot(view: View, _: str) -> Verdict:
    newer = {h.name: kernel for h in view.cluster.all_hosts if (kernel := _older_kernel(view, h.name))}
    waiting = tuple(h.name for h in view.cluster.all_hosts if _told(view, h.name, "reboot") or h.name in newer)
    if not waiting:
        return OK
    return Finding(
        f"to be rebooted some time: {', '.join(waiting)}",
        "\n".join([f"{host}: Linux {kernel} is installed and does not run" for host, kernel in newer.items()])
        or "/run/reboot-required",
        "a new kernel or library was installed and is not in use yet",
        f"drain, reboot and uncordon one after the other, beginning with {waiting[-1]}",
        hosts=waiting,
    )


def _needs(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    del cluster, host
    return frozenset({MACHINE, SYSTEM})


MACHINE_CHECKS: tuple[Check, ...] = (
    Check(
        "host.readonly",
        "Can the disks be written to?",
        Severity.ERROR,
        _readonly,
        "A file system below /, /var or /var/lib that the kernel has made read-only stops etcd and the kubelet.",
        needs=_needs,
    ),
    Check(
        "host.memory",
        "Is there memory left?",
        Severity.WARNING,
        _memory,
        "Warns when less than 2 % of the memory can be had. Pressure that the kubelet sees is told by node.pressure.",
        needs=_needs,
    ),
    Check(
        "host.conntrack",
        "Is there room in the table of connections?",
        Severity.WARNING,
        _conntrack,
        "kube-proxy and flannel need an entry for each connection; warns from 75 % of nf_conntrack_max.",
        roles=EVERYBODY,
        needs=_needs,
    ),
    Check(
        "host.dpkg",
        "Can packages be installed?",
        Severity.WARNING,
        _dpkg,
        "An installation that was interrupted stands in the way of every other one, also of `up`.",
        needs=_needs,
        depends_on=("host.disk", "host.readonly"),
    ),
    Check(
        "host.cgroup",
        "Does the kernel use cgroup v2?",
        Severity.WARNING,
        _cgroup,
        "The kubelet's support of cgroup v1 is in maintenance since 1.31 and ends with 1.35. Standing advice: until "
        "then everything works.",
        scope="cluster",
        advice=True,
    ),
    Check(
        "host.resolver",
        "Does the node have a nameserver that pods can use?",
        Severity.WARNING,
        _resolver,
        "Pods that ask for names outside of the cluster are sent to the node's nameservers. One on the loopback leads "
        "back to CoreDNS itself; with systemd-resolved the kubelet takes the real ones instead.",
        roles=NODES,
        needs=_needs,
        api=asks_api(OBJECTS),
    ),
    Check(
        "host.unique",
        "Is every machine one of its own?",
        Severity.WARNING,
        _unique,
        "Machines cloned from one image share /etc/machine-id, the hostname, a card's address, or the number of their "
        "firmware; the cards looked at are those of the way out, and containers have no firmware.",
        scope="cluster",
        needs=_needs,
    ),
)

REBOOT = Check(
    "host.reboot",
    "Is a reboot waiting?",
    Severity.WARNING,
    _reboot,
    "/run/reboot-required, which Ubuntu makes when a package wants a reboot; and kernels below /boot that are newer "
    "than the running one and of its kind.",
    scope="cluster",
    needs=_needs,
    advice=True,
)
