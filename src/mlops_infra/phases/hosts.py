"""The `hosts` phase: what every machine must be before anything of Kubernetes or HAProxy is put on it."""

from __future__ import annotations

import ipaddress

from mlops_infra.core import FailurePolicy, Phase, Resource, Step
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.phases.context import AptKey, PhaseContext
from mlops_infra.phases.distribution import (
    DOCKER_KEY,
    KUBERNETES_KEY,
    DistributionRepository,
    base_packages,
    docker_repository,
    kubernetes_repository,
    time_service,
)
from mlops_infra.phases.node_packages import later_packages
from mlops_infra.phases.releases import minor_of
from mlops_infra.resources import (
    Directory,
    File,
    HostsEntries,
    KernelModules,
    Missing,
    Packages,
    SwapOff,
    Sysctls,
    UnitState,
    restart_unit,
)

__all__ = ["MODULES", "SYSCTLS", "endpoint_entries", "hosts_phase"]

NAME = "hosts"

MODULES = ("overlay", "br_netfilter", "nf_conntrack")

SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.bridge.bridge-nf-call-ip6tables": "1",
    # Node ports cannot be taken as the source port of an outgoing connection.
    "net.ipv4.ip_local_reserved_ports": "30000-32767",
    "fs.inotify.max_user_instances": "8192",
    "fs.inotify.max_user_watches": "524288",
    # What the kubelet wants where protectKernelDefaults is on (CIS 4.2.6).
    "kernel.panic": "10",
    "kernel.panic_on_oops": "1",
    "vm.overcommit_memory": "1",
    "vm.panic_on_oom": "0",
    "kernel.keys.root_maxkeys": "1000000",
    "kernel.keys.root_maxbytes": "25000000",
}

_KEPT = ("containerd.io", "kubelet", "kubeadm", "kubectl", "kubernetes-cni", "cri-tools", "haproxy", "keepalived")
_UNATTENDED_AT = "/etc/apt/apt.conf.d/52mlops-infra"
_NEEDRESTART_AT = "/etc/needrestart/conf.d/mlops-infra.conf"
_UNATTENDED = f"""\
// Written by mlops-infra: these are upgraded by `mlops-infra upgrade` alone.
Unattended-Upgrade::Package-Blacklist {{
{"".join(f'  "^{name.replace(".", "[.]")}$";{chr(10)}' for name in _KEPT)}}};
"""
_NEEDRESTART = """\
# Written by mlops-infra: an apt run must not restart what carries the cluster.
$nrconf{override_rc}{qr(^(containerd|kubelet|haproxy|keepalived)\\.service$)} = 0;
"""


def hosts_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    """Repositories, packages, kernel, swap, names and time on every host, side by side."""
    repositories = _repositories(cluster, context)
    steps = tuple(Step(NAME, host.name, _resources(cluster, host, repositories)) for host in cluster.all_hosts)
    return Phase(NAME, "Host preparation", steps, FailurePolicy(0.5))


def endpoint_entries(cluster: Cluster) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The endpoint's name, when it is a name: the only one that /etc/hosts is told."""
    try:
        ipaddress.ip_address(cluster.endpoint_name)
    except ValueError:
        return ((cluster.endpoint_address, (cluster.endpoint_name,)),)
    return ()


def _repositories(cluster: Cluster, context: PhaseContext) -> tuple[DistributionRepository, ...]:
    if cluster.mirrors.apt:
        return tuple(
            DistributionRepository(m.name, m.url, context.apt_key(AptKey(m.key_file, m.fingerprint)))
            for m in cluster.mirrors.apt
        )
    minor = f"1.{minor_of(cluster.versions.kubernetes)}"
    return (
        kubernetes_repository(minor, context.apt_key(KUBERNETES_KEY(minor))),
        docker_repository(context.apt_key(DOCKER_KEY)),
    )


def _resources(cluster: Cluster, host: Host, repositories: tuple[DistributionRepository, ...]) -> tuple[Resource, ...]:
    settings, is_node = cluster.host, cluster.role(host.name) != "lb"
    resources: list[Resource] = [
        Directory("/var/lib/mlops-infra", mode=0o700),
        HostsEntries(endpoint_entries(cluster)),
        *(r for r in repositories if is_node or cluster.mirrors.apt),
    ]
    if settings.unattended_upgrades == "exclude":
        resources += [
            File(_UNATTENDED_AT, _UNATTENDED),
            File(_NEEDRESTART_AT, _NEEDRESTART),
        ]
    else:
        resources += [Missing(_UNATTENDED_AT), Missing(_NEEDRESTART_AT)]
    names = (*base_packages(cluster.role(host.name)), *settings.extra_packages)
    resources.append(Packages("base", dict.fromkeys(names), along=later_packages(cluster, is_node=is_node)))
    if is_node:
        modules = tuple(dict.fromkeys((*MODULES, *settings.modules)))
        resources += [KernelModules(modules), Sysctls({**SYSCTLS, **settings.sysctls}, settings.skip_sysctls)]
        resources += [SwapOff()] if settings.swap == "off" else []
    elif settings.sysctls:
        resources.append(Sysctls(settings.sysctls, settings.skip_sysctls))
    return (*resources, *_time(cluster))


def _time(cluster: Cluster) -> tuple[Resource, ...]:
    settings = cluster.host
    if settings.time_sync == "none":
        return ()
    package, unit = time_service(settings.time_sync)
    servers = settings.time_servers
    files: tuple[Resource, ...] = ()
    if settings.time_sync == "timesyncd" and servers:
        text = f"# Written by mlops-infra.\n[Time]\nNTP={' '.join(servers)}\n"
        files = (File("/etc/systemd/timesyncd.conf.d/mlops-infra.conf", text, notifies=(restart_unit(unit),)),)
    if settings.time_sync == "chrony":
        notify = (restart_unit(unit),)
        if servers:
            text = "# Written by mlops-infra.\n" + "".join(f"server {s} iburst\n" for s in servers)
            files = (File("/etc/chrony/sources.d/mlops-infra.sources", text, notifies=notify),)
        if settings.chrony_options:
            text = f'# Written by mlops-infra.\nDAEMON_OPTS="{settings.chrony_options}"\n'
            files = (*files, File("/etc/default/chrony", text, notifies=notify))
    return (Packages("time", {package: None}), *files, UnitState(unit, enabled=True, active=True))
