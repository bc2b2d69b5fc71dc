"""What must hold before anything is done: questions that ride in the one exchange, and a verdict on the answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from mlops_infra.core import API, Command, Facts, Probe, System, SystemFact
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.phases.distribution import ARCHITECTURES, SUPPORTED, is_supported
from mlops_infra.phases.drift import drift, is_readable
from mlops_infra.phases.finding import Finding, Severity
from mlops_infra.phases.ports import datagrams_from, ours_on, ways_from
from mlops_infra.phases.preflight_said import Said, parsed
from mlops_infra.phases.preflight_ways import datagrams, ways
from mlops_infra.phases.releases import minor_of
from mlops_infra.phases.sources import sources_of
from mlops_infra.render import render

__all__ = ["NEEDS", "Finding", "judge", "probes"]

_MIB = 1024 * 1024
NEEDS: Mapping[str, tuple[int, int, int]] = {
    # CPUs, memory in MiB (kubeadm asks 1700 of a control plane; domain.md 1.6), free disk in MiB below /var/lib.
    "lb": (1, 256, 512),
    "master": (2, 1700, 4096),
    "worker": (1, 1000, 4096),
}
_SKEW_WARN, _SKEW_REFUSE = 5.0, 30.0
"""Seconds against the median: etcd and certificates suffer from the second (k0sctl's bound). Hosts are not looked at in
one instant: a busy controller spreads the looks over a few seconds, and less than that says nothing."""
_CGROUP_V1_GONE = 35
"""The minor from which a kubelet refuses cgroup v1 by default (kubernetes#134298)."""


def probes(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    """The questions for one host. On a host that is ours already the script ends after three looks at files."""
    return frozenset({System(), _command(cluster, host)})


def judge(cluster: Cluster, facts: Mapping[str, Facts], *, adopt: bool = False) -> tuple[Finding, ...]:
    """Findings over the facts of the hosts that answered, worst first; `facts[API]`, where given, is what the API said.

    With `adopt` a foreign cluster is no finding where it can be compared with the file: that it agrees is judged.
    """
    found: list[Finding] = []
    said_by: dict[str, Said] = {}
    systems = {n: s for n, f in facts.items() if (s := f.value(System())) is not None}
    cards: dict[str, str] = {}
    for host in cluster.all_hosts:
        if host.name in systems:
            found += _machine(cluster, host, systems[host.name])
        answer = facts[host.name].value(_command(cluster, host)) if host.name in facts else None
        if answer is not None:
            said = said_by[host.name] = parsed(answer.stdout)
            cards[host.name] = said.mac
            found += _state(cluster, host, said, adopt=adopt)
    found += ways(cluster, said_by)
    found += datagrams(cluster, said_by)
    found += _clocks(systems)
    found += _clones(systems, cards)
    api = facts.get(API, Facts())
    found += drift(cluster, api)
    foreign = [name for name, said in said_by.items() if _is_foreign(said)]
    if adopt and foreign and not is_readable(api):
        found.append(_incomparable(foreign))
    order = {"refuse": 0, "warn": 1, "note": 2}
    return tuple(sorted(found, key=lambda f: order[f.severity]))


def _command(cluster: Cluster, host: Host) -> Command:
    text = render(
        "hosts/preflight.sh.j2",
        address=host.node_address,
        ways=ways_from(cluster, host),
        outbound=sources_of(cluster, host),
        datagrams=datagrams_from(cluster, host),
    )
    return Command("preflight", text, timeout=20)


def _machine(cluster: Cluster, host: Host, system: SystemFact) -> Iterator[Finding]:
    role = cluster.role(host.name)
    if not is_supported(system.os_id, system.os_version):
        known = ", ".join(f"{name.capitalize()} {version}" for name, version, _ in SUPPORTED)
        yield Finding(
            host.name,
            "refuse",
            f"{system.os_id or 'an unknown system'} {system.os_version} is not supported".replace("  ", " "),
            "mlops-infra knows package names and services of a few releases, and guesses none",
            f"install one of {known}",
        )
    if system.arch not in ARCHITECTURES:
        yield Finding(host.name, "refuse", f"the architecture {system.arch} is not supported", "", "use amd64 or arm64")
    cpus, memory, _ = NEEDS[role]
    if system.cpus < cpus:
        yield Finding(
            host.name, "refuse", f"{system.cpus} CPU, a {role} needs {cpus}", "", "give the machine more CPUs"
        )
    if system.memory < memory * _MIB:
        has = system.memory // _MIB
        yield Finding(host.name, "refuse", f"{has} MiB of memory, a {role} needs {memory}", "", "give it more memory")
    if system.cgroup_version == 1 and role != "lb":
        minor = minor_of(cluster.versions.kubernetes)
        gone = minor >= _CGROUP_V1_GONE
        yield Finding(
            host.name,
            "refuse" if gone else "note",
            f"cgroup v1{'' if gone else ' is in use'}: Kubernetes 1.{_CGROUP_V1_GONE} and later refuse it",
            "the kernel was started with the old hierarchy",
            "boot with systemd.unified_cgroup_hierarchy=1",
        )
    if host.node_address not in system.addresses:
        yield Finding(
            host.name,
            "refuse",
            f"{host.node_address} is not an address of this machine",
            f"it has {', '.join(system.addresses) or 'none'}",
            "correct `address`, or name the inner one as `internal_address`",
        )


def _state(cluster: Cluster, host: Host, said: Said, *, adopt: bool) -> Iterator[Finding]:
    role = cluster.role(host.name)
    if _is_foreign(said) and not adopt:
        yield Finding(
            host.name,
            "refuse",
            "this host is part of a cluster that mlops-infra did not build",
            "kubeadm's files are there, and no manifest of ours",
            "to take it over: mlops-infra up --adopt; to start afresh: kubeadm reset --force on the host",
        )
    for path in said.dropins:
        yield Finding(
            host.name,
            "refuse",
            f"{path} names containerd's CRI section",
            "containerd 1.7 replaces whole sections on import: sandbox image, cgroup driver or mirrors are lost",
            "move its settings to `containerd.config` in cluster.yaml and remove the file",
        )
    if said.prepared:
        return
    needed = NEEDS[role][2]
    if said.disk is not None and said.disk < needed:
        yield Finding(
            host.name, "refuse", f"{said.disk} MiB free below /var/lib, a {role} needs {needed}", "", "make room there"
        )
    if not said.kubeadm:
        for port in sorted(said.listening & ours_on(cluster, role)):
            # Of a cluster that is taken over, the load balancer serves already: HAProxy, or what must make room for it.
            yield Finding(
                host.name,
                "warn" if adopt and role == "lb" else "refuse",
                f"port {port} is taken",
                "another program listens there",
                f"ss -ltnp 'sport = :{port}'",
            )


def _is_foreign(said: Said) -> bool:
    return said.kubeadm and not said.prepared


def _incomparable(foreign: list[str]) -> Finding:
    """Endpoint, networks and versions have to agree before anything is written to somebody else's cluster."""
    return Finding(
        "",
        "refuse",
        f"the cluster of {', '.join(foreign)} cannot be compared with cluster.yaml, so it is not taken over",
        "no API server of a master that was asked gave configmap kube-system/kubeadm-config",
        "on a master: kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system get configmap kubeadm-config; "
        "with --limit, name a master too; where there is no cluster any more: kubeadm reset --force on the hosts",
    )


def _clocks(systems: Mapping[str, SystemFact]) -> Iterator[Finding]:
    if len(systems) < 2:
        return
    middle = median(s.clock for s in systems.values())
    for name, system in systems.items():
        skew = system.clock - middle
        if abs(skew) > _SKEW_WARN:
            yield Finding(
                name,
                "refuse" if abs(skew) > _SKEW_REFUSE else "warn",
                f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the others",
                "no time synchronisation, or one that does not reach its server",
                "timedatectl status; chronyc tracking",
            )


def _clones(systems: Mapping[str, SystemFact], cards: Mapping[str, str]) -> Iterator[Finding]:
    def shared(what: str, values: Mapping[str, tuple[str, ...]], severity: Severity, remedy: str) -> Iterator[Finding]:
        owners: dict[str, list[str]] = {}
        for name, several in values.items():
            for value in dict.fromkeys(several):
                owners.setdefault(value, []).append(name)
        for value, names in owners.items():
            if len(names) > 1:
                brief = f"the same {what} as {', '.join(names[:-1])}: {value}"
                yield Finding(names[-1], severity, brief, "the machines are clones of one another", remedy)

    yield from shared(
        "hostname", {n: (s.hostname,) for n, s in systems.items()}, "warn", "hostnamectl set-hostname NAME"
    )
    ids = {n: (s.machine_id,) for n, s in systems.items() if s.machine_id}
    remedy = "rm /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup; reboot"
    yield from shared("machine-id", ids, "refuse", remedy)
    macs = {n: (mac,) for n, mac in cards.items() if mac}
    yield from shared("MAC address", macs, "refuse", "give the virtual machine a MAC address of its own")
