"""The whole catalogue: each check is produced by something here, and no fact of the field is without its check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from sick import Platform, cluster_of, node, service, status_line
from test_checks import ADDONS, CASES, COPIED, TestWhatIsSwitchedOn, no_api_server, system
from test_more_checks import ADVISED, MORE, POOL, has, watched

from mlops_infra.core import ABSENT, ApiObject
from mlops_infra.doctor import probes as p
from mlops_infra.doctor.catalogue import CHECKS
from mlops_infra.doctor.diagnosis import Diagnosed
from mlops_infra.doctor.view import Local


def on_healthy(sicken: Callable[[Platform], object]) -> Callable[[], Platform]:
    def made() -> Platform:
        one = Platform()
        sicken(one)
        return one

    return made


def with_pool(sicken: Callable[[Platform], object]) -> Callable[[], Platform]:
    def made() -> Platform:
        one = Platform(cluster=cluster_of(**POOL))
        sicken(one)
        return one

    return made


def kubelets_words(s: Platform) -> None:
    from sick import RESTARTING

    s.facts["w1"][p.KUBELET] = RESTARTING
    s.of_kubelet("w1", "kubelet-log", "failed to load kubelet config file")


def pressed(s: Platform) -> None:
    told = node("w1")
    told["status"]["conditions"].append({"type": "DiskPressure", "status": "True"})
    s.api[p.NODES] = (told,)


def other_version(s: Platform) -> None:
    text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.30.0\n"
    s.api[ApiObject("v1", "ConfigMap", "kubeadm-config", "kube-system")] = {"data": {"ClusterConfiguration": text}}


def two_balancers() -> Platform:
    pair = [{"name": "lb1", "address": "10.0.0.20"}, {"name": "lb2", "address": "10.0.0.21"}]
    hosts = {"lb": pair, "masters": [{"name": "m1", "address": "10.0.0.1"}]}
    return Platform(cluster=cluster_of(hosts=hosts, lb={"vip": {"address": "10.0.0.30", "interface": "eth0"}}))


def local(**more: object) -> Callable[[Platform], object]:
    def set_(s: Platform) -> None:
        s.local = replace(Local(), **more)  # type: ignore[arg-type]

    return set_


PRODUCED: dict[str, list[Callable[[], Platform]]] = {
    "kubelet.config": [on_healthy(kubelets_words)],
    "etcd.quorum": [on_healthy(lambda s: s.etcd_stops("m3"))],
    "api.none": [on_healthy(no_api_server)],
    "node.pressure": [on_healthy(pressed)],
    "metallb.pool": [with_pool(lambda s: s.api.update({p.METALLB_POOL: ABSENT}))],
    "metallb.waiting": [with_pool(lambda s: has(s, service("b")))],
    "ingress.address": [with_pool(lambda s: s.api.update({p.INGRESS_LB: {"status": {}}}))],
    "lb.vip": [two_balancers],
    "cluster.config": [on_healthy(other_version)],
    "backup.none": [on_healthy(local())],
    "backup.local": [Platform],
    "backup.key": [on_healthy(local(lone_key="/x"))],
    "version.eol": [on_healthy(local(warnings=(("versions.kubernetes", "old"),)))],
    "file.warnings": [on_healthy(local(warnings=(("hosts.masters", "two masters"),)))],
    "host.cgroup": [on_healthy(lambda s: system(s, "w1", cgroup_version=1))],
    "lb.single": [Platform],
    "exposure.metrics": [Platform],
    "monitoring.targets": [lambda: watched([{"job": "etcd"}])],
    "monitoring.watchdog": [lambda: watched([], watchdog=[{}])],
    "monitoring.receivers": [lambda: watched([])],
    "exposure.monitoring": [lambda: watched([])],
    "api.deprecated": [lambda: watched([], [{"removed_release": "1.32"}])],
}
"""Those of CASES, MORE and ADVISED besides."""
for _check, _, _sicken, _ in (*CASES, *MORE):
    PRODUCED.setdefault(_check, []).append(on_healthy(_sicken))
for _check, _sicken, _, _ in ADVISED:
    PRODUCED.setdefault(_check, []).append(on_healthy(_sicken))
for _check in ADDONS:
    PRODUCED.setdefault(_check, []).append(lambda _check=_check: TestWhatIsSwitchedOn().platform(_check))  # type: ignore[misc]


def told(platform: Platform) -> set[str]:
    """All that was found: causes, what follows from them, and advice."""

    def of(found: tuple[Diagnosed, ...]) -> set[str]:
        return {one.check for one in found} | {check for one in found for check in of(one.follows)}

    diagnosis = platform.diagnosis()
    return of(diagnosis.findings) | of(diagnosis.advice)


@pytest.mark.parametrize("check", [c.id for c in CHECKS])
def test_every_check_is_produced_by_some_sickness(check: str) -> None:
    assert check in PRODUCED, "a check that no test can bring about"
    assert all(check in told(made()) for made in PRODUCED[check])


def test_nothing_is_produced_that_is_no_check() -> None:
    assert set(PRODUCED) == {c.id for c in CHECKS}


def test_every_check_is_silent_somewhere_where_it_was_asked() -> None:
    """The other way: on some platform that is well each check had its answer, and nothing to say."""
    heeded = Platform(
        cluster=cluster_of(
            security={"expose_metrics": False, "firewall": True},
            backup=COPIED,
            hosts={"masters": [{"name": "m1", "address": "10.0.0.1"}]},
        )
    )
    silent: set[str] = set()
    switched_on = TestWhatIsSwitchedOn().platform()
    for well in (Platform(), heeded, with_pool(lambda s: None)(), watched([]), switched_on):
        diagnosis = well.diagnosis()
        silent |= {c.id for c in CHECKS} - told(well) - {s.check for s in diagnosis.skipped}
    assert {c.id for c in CHECKS} - silent == set()


ROWS: tuple[tuple[str, str, str], ...] = (
    # Number, what a person who runs such platforms looks at, and the checks that look at it; in brackets why none does.
    ("1", "pinned host key", "host.hostkey"),
    ("2", "root by sudo", "host.sudo"),
    ("3", "system and architecture", "host.os"),
    ("4", "machines that are copies of one another", "host.unique"),
    ("5", "clocks", "host.time"),
    ("6", "swap", "host.swap"),
    ("7", "kernel modules", "host.modules"),
    ("8", "kernel settings", "host.sysctl"),
    ("9", "cgroup version", "host.cgroup"),
    ("10", "CPUs and memory of a role", "host.resources"),
    ("11", "space and inodes", "host.disk host.inodes host.readonly"),
    ("12", "etcd's disk", "etcd.fsync"),
    ("13", "interrupted dpkg", "host.dpkg"),
    ("14", "held packages", "host.packages"),
    ("15", "package sources", "host.repository"),
    ("16", "unattended upgrades", "host.unattended"),
    ("17", "waiting reboot, newer kernel", "host.reboot"),
    ("18", "ports between hosts", "net.ways net.vxlan lb.backends lb.ingress"),
    ("19", "nameservers, the endpoint's name", "host.resolver api.lb dns.answer"),
    ("20", "failed units", "host.units"),
    ("21", "table of connections", "host.conntrack"),
    ("22", "inotify", "host.sysctl"),
    ("23", "out of memory", "pods.oom host.memory host.units"),
    ("24", "container runtime", "cri.up"),
    ("25", "cgroup driver", "cri.config"),
    ("26", "sandbox image", "cri.config"),
    ("27", "registry mirrors", "cri.config"),
    ("28", "runtime version", "cri.version"),
    ("29", "kubelet", "kubelet.up kubelet.config"),
    ("30", "kubelet's client certificate", "kubelet.cert"),
    ("31", "kubelets' serving certificates", "kubelet.csr"),
    ("32", "version skew", "kubelet.skew"),
    ("33", "API through the load balancer", "api.lb"),
    ("34", "each API server", "api.server api.none"),
    ("35", "names in the API's certificate", "api.san"),
    ("36", "anonymous health checks", "api.server"),
    ("37", "masters' kubelets behind the load balancer", "kubelet.localmode"),
    ("38", "flags that differ between masters", "cp.flags"),
    ("39", "deprecated APIs in use", "api.deprecated"),
    ("40", "static pods", "cp.manifest cp.controllers"),
    ("41", "leases of the controllers", "cp.leader"),
    ("42", "certificates that end", "cert.expiry"),
    ("43", "super-admin.conf", "cert.superadmin"),
    ("44", "modes of keys", "pki.keys"),
    ("45", "etcd members that answer", "etcd.member"),
    ("46", "etcd members that belong", "etcd.members etcd.removed"),
    ("47", "etcd's majority", "etcd.quorum etcd.leader"),
    ("48", "etcd's data alike", "etcd.consistency etcd.alarm etcd.lag"),
    ("49", "etcd's alarms", "etcd.alarm"),
    ("50", "etcd's size", "etcd.size etcd.space"),
    ("51", "etcd's version", "etcd.version"),
    ("52", "backups", "backup.age backup.none backup.key backup.local"),
    ("53", "HAProxy's file", "lb.config lb.haproxy"),
    ("54", "HAProxy's servers", "lb.backends"),
    ("55", "pinned node ports", "ingress.nodeports lb.ingress"),
    ("56", "a lone load balancer, the shared address", "lb.single lb.vip"),
    ("57", "old processes of HAProxy", "lb.workers"),
    ("58", "Flannel, pod networks, MTU, VXLAN", "cni.flannel cni.podcidr net.mtu net.vxlan node.network"),
    ("59", "a bridge left over", "cni.leftover"),
    ("60", "the cluster's DNS", "dns.cluster dns.service dns.answer dns.loop"),
    ("61", "kube-proxy", "svc.kubeproxy"),
    ("62", "MetalLB's configuration", "metallb.pool metallb.webhook metallb.controller"),
    ("63", "MetalLB's addresses", "metallb.waiting ingress.address"),
    ("64", "who announces addresses", "metallb.speaker net.ways"),
    ("65", "the ingress controller and its version", "ingress.up version.eol"),
    ("66", "PROXY protocol", "ingress.proxyproto"),
    ("67", "nodes", "node.ready node.pressure node.cordoned"),
    ("68", "pods", "pods.crash pods.image pods.pending pods.terminating pods.evicted"),
    ("69", "disruption budgets", "pdb.blocked"),
    ("70", "claims and volumes", "storage.claims storage.released storage.provisioner"),
    ("71", "room for a failure", "capacity.spare"),
    ("72", "rights", "rbac.anonymous rbac.admins"),
    (
        "73",
        "scrape targets, receivers",
        "monitoring.targets monitoring.watchdog monitoring.receivers monitoring.alertmanager",
    ),
    ("74", "monitoring open to all", "exposure.monitoring exposure.metrics"),
    ("75", "log pipeline", "[the platform installs none; its pods are looked at as all others are]"),
    ("76", "end of life", "version.eol"),
    ("77", "a golden prediction", "[the platform installs no model server yet]"),
    ("78", "GPUs", "node.devices"),
)


@pytest.mark.parametrize(("number", "what", "checks"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_worth_a_look_has_its_check_or_a_reason(number: str, what: str, checks: str) -> None:
    assert checks.startswith("[") or set(checks.split()) <= {c.id for c in CHECKS}, what


def test_the_rows_are_whole_and_few_are_without() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, 79))
    assert [row[0] for row in ROWS if row[2].startswith("[")] == ["75", "77"]
    assert len(CHECKS) >= 78


def test_a_member_that_tells_no_revision_is_not_compared(sick: Platform) -> None:
    for name in ("m1", "m2", "m3"):
        sick.of_master(name, "status", status_line(header={}))
    assert "etcd.consistency" in {s.check for s in sick.diagnosis().skipped}
