"""Ways between nodes, how masters were made, what users run: each check both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sick import (
    APISERVER,
    NOW,
    Platform,
    cluster_of,
    deployment,
    end_of,
    flags,
    ingress_service,
    item,
    lease,
    node,
    pod,
    service,
    status_line,
)
from test_checks import Case, listed, on, system

from mlops_infra.core import ABSENT
from mlops_infra.doctor import probes as p
from mlops_infra.doctor.catalogue import CHECKS
from mlops_infra.doctor.check import Severity

POOL = {"metallb": {"pool": ["10.0.0.100-10.0.0.101"]}}
WATCHED: dict[str, Any] = {"monitoring": {"enabled": True, "receivers": []}}


def has(s: Platform, *objects: dict[str, Any]) -> None:
    """Besides what a healthy platform has."""
    s.api[p.OBJECTS] = (*s.api[p.OBJECTS], *objects)


def certificate(s: Platform, host: str, *names: str) -> None:
    s.say(host, p.CERTIFICATES, "certificate", f"{APISERVER}\t{end_of(NOW + timedelta(300), names)}")


def shut(s: Platform, *ways: tuple[str, str], key: str = "way", how: str = "silent") -> None:
    """Asker, and address with port."""
    for asker in dict.fromkeys(w[0] for w in ways):
        s.of_kubelet(asker, key, *(f"{to} {how}" for by, to in ways if by == asker))


def budget(allowed: int, healthy: int = 3, pods: int = 3, name: str = "web", space: str = "shop") -> dict[str, Any]:
    status = {"disruptionsAllowed": allowed, "currentHealthy": healthy, "expectedPods": pods}
    return item("PodDisruptionBudget", name, space, status=status)


def claim(minutes: int = 60, phase: str = "Pending") -> dict[str, Any]:
    return item("PersistentVolumeClaim", "data", minutes=minutes, spec={}, status={"phase": phase})


def claiming() -> dict[str, Any]:
    return pod("db") | {"spec": {"nodeName": "w1", "volumes": [{"persistentVolumeClaim": {"claimName": "data"}}]}}


def killed(minutes: int) -> dict[str, Any]:
    at = (NOW - timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")
    found = pod("hungry")
    state = {"terminated": {"reason": "OOMKilled", "finishedAt": at}}
    found["status"]["containerStatuses"][0]["lastState"] = state
    return found


def binding(name: str, role: str, subject: str, **labels: str) -> dict[str, Any]:
    found = item("ClusterRoleBinding", name, roleRef={"name": role}, subjects=[{"kind": "Group", "name": subject}])
    found["metadata"]["labels"] = labels
    return found


def devices(s: Platform, name: str, has_: str, gives: str) -> None:
    told = node("w1")
    told["status"] |= {"capacity": {name: has_}, "allocatable": {name: gives}}
    listed(s, told)


def counts(s: Platform, host: str, applied: int, revision: int) -> None:
    header = {"member_id": "161", "revision": str(revision)}
    s.of_master(host, "status", status_line(header=header, raftAppliedIndex=str(applied)))


def old_repository(s: Platform, *lines: str) -> None:
    s.say("w1", p.MACHINE, "repository", *lines)


def both(s: Platform, key: str, value: str) -> None:
    for name in ("w1", "w2"):
        s.say(name, p.MACHINE, key, value)


DEB = "/etc/apt/sources.list.d/{}.list:deb https://pkgs.k8s.io/core:/stable:/v{}/deb/ /"
NODES = ("m1", "m2", "m3", "w1", "w2")

MORE: list[Case] = [
    ("host.os", "w1", lambda s: system(s, "w1", os_version="10"), "mlops-infra up --limit w1"),
    ("host.os", "w1", lambda s: system(s, "w1", arch="riscv64"), "install one of"),
    ("host.resources", "m1", lambda s: system(s, "m1", cpus=1), "give m1 more"),
    ("host.resources", "w1", lambda s: system(s, "w1", memory=512 << 20), "give w1 more"),
    ("host.repository", "w1", lambda s: s.drift("w1", "apt-repository:kubernetes"), "mlops-infra up --limit w1"),
    ("host.repository", "w1", lambda s: old_repository(s, DEB.format("old", "1.28")), on("w1", "rm /etc/apt/sources")),
    ("host.unattended", "w1", lambda s: s.drift("w1", "file:/etc/apt/apt.conf.d/52mlops-infra"), "up --limit w1"),
    ("host.unique", "", lambda s: system(s, "w2", hostname="w1"), "hostnamectl"),
    (
        "host.unique",
        "",
        lambda s: [s.say(n, p.MACHINE, "mac", "02:00:00:00:00:01") for n in ("w1", "w2")],
        "ip -br link",
    ),
    ("host.unique", "", lambda s: both(s, "uuid", "4c4c4544-1"), "product_uuid"),
    ("net.ways", "", lambda s: shut(s, ("m1", "10.0.0.11 10250")), on("w1", "'{ iptables-save; nft list")),
    ("net.vxlan", "", lambda s: shut(s, ("w1", "10.244.12.0 10256"), key="vxlan"), "udp 8472"),
    ("net.mtu", "w1", lambda s: s.of_kubelet("w1", "mtu", "1450 eth0 1400"), "spec.nodeName=w1"),
    ("cni.podcidr", "w1", lambda s: listed(s, node("w1", podCIDR="")), "kube-controller-manager"),
    ("cni.leftover", "w1", lambda s: s.of_kubelet("w1", "cni", "10.244.77.0/24"), "ip link delete cni0"),
    ("dns.answer", "", lambda s: s.of_kubelet("w1", "dns", "silent"), "--limit w1 -- '{ iptables-save"),
    ("dns.answer", "", lambda s: [s.of_kubelet(n, "dns", "code 3, 0 answers") for n in NODES], "k8s-app=kube-dns"),
    ("api.san", "m2", lambda s: certificate(s, "m2", "api.c.internal", "10.0.0.20"), "init phase certs apiserver"),
    ("cp.flags", "", lambda s: s.of_master("m2", "flag", *flags("m2", profiling="false")), "control-plane apiserver"),
    ("cp.leader", "", lambda s: s.api.update({p.LEASES[0]: lease(300)}), "component=kube-controller-manager"),
    ("etcd.consistency", "", lambda s: counts(s, "m2", 6000, 2000), "endpoint hashkv"),
    ("etcd.consistency", "", lambda s: counts(s, "m2", 5000, 9000), "endpoint hashkv"),
    (
        "lb.workers",
        "lb1",
        lambda s: s.say("lb1", p.BALANCER, "processes", "30"),
        on("lb1", "systemctl restart haproxy"),
    ),
    ("ingress.nodeports", "", lambda s: s.api.update({p.OBJECTS: (ingress_service(30001),)}), "mlops-infra up"),
    (
        "ingress.proxyproto",
        "",
        lambda s: s.api.update({p.INGRESS_CONFIG: {"data": {"use-proxy-protocol": "true"}}}),
        "patch configmap",
    ),
    ("storage.claims", "", lambda s: has(s, claim(), claiming()), "-n shop describe pvc data"),
    ("pods.oom", "", lambda s: has(s, killed(20)), "-n shop describe pod hungry"),
    ("pdb.blocked", "", lambda s: has(s, budget(0)), "-n shop describe pdb web"),
    ("rbac.anonymous", "", lambda s: has(s, binding("x", "view", "system:anonymous")), "delete clusterrolebinding x"),
    ("node.devices", "w1", lambda s: devices(s, "nvidia.com/gpu", "4", "3"), "describe node w1"),
]


@pytest.mark.parametrize(("check", "host", "sicken", "remedy"), MORE, ids=[f"{c[0]}-{n}" for n, c in enumerate(MORE)])
def test_each_sickness_is_the_first_finding_with_its_remedy(
    sick: Platform, check: str, host: str, sicken: Callable[[Platform], object], remedy: str
) -> None:
    sicken(sick)
    assert sick.said[:1] == [(check, host)]
    assert remedy in sick.findings[0].finding.remedy
    assert sick.findings[0].finding.cause


@pytest.mark.parametrize(
    "well",
    [
        lambda s: old_repository(s, DEB.format("mlops-infra-kubernetes", "1.31")),
        lambda s: both(s, "uuid", "03000200-0400-0500-0006-000700080009"),
        lambda s: shut(s, ("m1", "10.0.0.1 10250")),
        lambda s: shut(s, ("m1", "192.0.2.9 10250")),
        lambda s: shut(s, ("w1", "10.244.11.0 10256"), key="vxlan"),
        lambda s: s.of_kubelet("w1", "mtu", "1450 eth0 9000"),
        lambda s: s.of_kubelet("w1", "cni"),
        lambda s: s.of_kubelet("w1", "dns"),
        lambda s: certificate(s, "m2"),
        lambda s: certificate(s, "m2", "API.c.internal", "10.0.0.20", "10.0.0.2", "kubernetes"),
        lambda s: s.of_master("m2", "flag"),
        lambda s: s.of_master("m2", "flag", *reversed(flags("m2"))),
        lambda s: s.api.update({p.LEASES[0]: lease(20)}),
        lambda s: s.api.update({p.LEASES[0]: ABSENT}),
        lambda s: s.api.update({p.LEASES[1]: lease(-30)}),
        lambda s: counts(s, "m2", 5500, 4600),
        lambda s: counts(s, "m2", 1000, 100),
        lambda s: s.say("lb1", p.BALANCER, "processes", "3"),
        lambda s: has(s, claim(minutes=1), claiming()),
        lambda s: has(s, claim()),
        lambda s: has(s, claim(phase="Bound"), claiming()),
        lambda s: has(s, killed(90)),
        lambda s: has(s, budget(1)),
        lambda s: has(s, budget(0, healthy=2)),
        lambda s: has(s, budget(0, healthy=0, pods=0)),
        lambda s: has(s, binding("x", "system:public-info-viewer", "system:unauthenticated")),
        lambda s: devices(s, "nvidia.com/gpu", "4", "4"),
        lambda s: devices(s, "memory", "4Gi", "3Gi"),
        lambda s: has(s, service()),
    ],
)
def test_what_is_near_it_or_not_told_is_no_finding(sick: Platform, well: Callable[[Platform], object]) -> None:
    well(sick)
    assert [(f.check, f.finding.brief) for f in sick.findings] == []


class TestWays:
    def test_many_shut_ways_are_told_by_the_host_that_they_have_in_common(self, sick: Platform) -> None:
        shut(sick, *((by, f"10.0.0.11 {port}") for by in ("m1", "m2", "m3") for port in (10250, 7946)))
        assert sick.only.finding.brief == "m1, m2, m3 cannot reach w1 at tcp 7946, 10250"
        assert sick.only.finding.hosts == ("w1",)

    def test_a_host_that_gets_out_to_nobody_is_one_finding_too(self, sick: Platform) -> None:
        shut(sick, ("m1", "10.0.0.11 10250"), ("m1", "10.0.0.12 10250"), ("m1", "10.0.0.2 2380"))
        assert "m1" in sick.only.finding.brief
        assert sick.only.finding.remedy.startswith("mlops-infra hosts exec --limit m1 ")

    def test_a_host_that_is_silent_altogether_is_told_as_that(self, sick: Platform) -> None:
        shut(sick, *((by, "10.0.0.11 10250") for by in ("m1", "m2", "m3")))
        shut(sick, ("m1", "10.244.11.0 10256"), key="vxlan")
        sick.lose("w1")
        assert sick.only.check == "host.ssh"
        assert not {f.check for f in sick.only.follows} & {"net.ways", "net.vxlan"}

    def test_a_kubelet_port_that_is_shut_explains_the_silence_inside_of_the_tunnel(self, sick: Platform) -> None:
        shut(sick, ("m1", "10.0.0.11 10250"))
        shut(sick, ("m1", "10.244.11.0 10256"), key="vxlan")
        assert sick.only.check == "net.ways"
        assert [f.check for f in sick.only.follows] == ["net.vxlan"]

    def test_names_that_nobody_answers_follow_from_the_tunnel_and_that_from_its_node(self, sick: Platform) -> None:
        shut(sick, ("w1", "10.244.12.0 10256"), key="vxlan")
        sick.of_kubelet("w1", "dns", "silent")
        assert sick.only.check == "net.vxlan"
        assert [f.check for f in sick.only.follows] == ["dns.answer"]

    def test_what_ails_another_node_is_not_taken_for_the_cause_of_a_node_cut_off_from_all(self, sick: Platform) -> None:
        shut(sick, *((by, "10.244.12.0 10256") for by in ("m1", "m2", "m3", "w1")), key="vxlan")
        listed(sick, node("w1", ready="False"))
        assert {f.check for f in sick.findings} == {"node.ready", "net.vxlan"}

    def test_coredns_away_is_the_cause_of_names_without_answer(self, sick: Platform) -> None:
        sick.api[p.COREDNS] = deployment(0, 0)
        for name in NODES:
            sick.of_kubelet(name, "dns", "Connection refused")
        assert sick.only.check == "dns.cluster"
        assert [f.check for f in sick.only.follows] == ["dns.answer"]

    def test_an_api_that_knows_no_nodes_leaves_their_networks_unjudged(self, sick: Platform) -> None:
        sick.api[p.NODES] = ABSENT
        assert "cni.podcidr" in {s.check for s in sick.diagnosis().skipped}


class TestMasters:
    def test_a_name_that_only_the_file_wants_is_a_warning(self) -> None:
        more = Platform(cluster=cluster_of(kubeadm={"cert_sans": ["k8s.example.org"]}))
        found = [f for f in more.findings if f.check == "api.san"]
        assert {f.host for f in found} == {"m1", "m2", "m3"}
        assert {f.severity for f in found} == {Severity.WARNING}
        assert "k8s.example.org" in found[0].finding.remedy

    def test_a_certificate_without_the_masters_own_address_is_an_error(self, sick: Platform) -> None:
        certificate(sick, "m2", "api.c.internal", "10.0.0.20")
        assert sick.only.severity is Severity.ERROR

    def test_the_odd_master_is_named_and_its_flag(self, sick: Platform) -> None:
        sick.of_master("m3", "flag", *flags("m3", audit_log_path="/x"))
        assert sick.only.finding.brief == ("kube-apiserver of m3 runs with other flags than the others: audit-log-path")
        assert sick.only.finding.hosts == ("m3",)


class TestAddresses:
    def test_a_service_that_waits_is_told_with_what_is_left_of_the_pool(self) -> None:
        one = Platform(cluster=cluster_of(**POOL))
        has(one, service("a", "10.0.0.100"), service("b"))
        assert one.only.check == "metallb.waiting"
        assert "describe service b" in one.only.finding.remedy
        has(one, service("c", "10.0.0.101"))
        assert "the pool is used up" in one.only.finding.brief
        assert "set-pool" in one.only.finding.remedy

    @pytest.mark.parametrize(
        "fine",
        [
            service("a", "10.0.0.100"),
            service("young", minutes=1),
            item("Service", "other", spec={"type": "LoadBalancer", "loadBalancerClass": "x"}),
            item("Service", "inside", spec={"type": "ClusterIP"}),
        ],
    )
    def test_one_that_has_its_address_or_is_not_metallbs_does_not_wait(self, fine: dict[str, Any]) -> None:
        one = Platform(cluster=cluster_of(**POOL))
        has(one, fine)
        assert one.findings == ()
        assert "metallb.waiting" not in {s.check for s in one.diagnosis().skipped}


def watched(
    targets: list[dict[str, str]],
    deprecated: list[dict[str, str]] | None = None,
    watchdog: list[dict[str, str]] | None = None,
) -> Platform:
    """Monitoring is on, and Prometheus answers m2 alone."""
    made = Platform(cluster=cluster_of(**WATCHED))
    for name, found in (("targets", targets), ("deprecated", deprecated or []), ("watchdog", watchdog or [])):
        result = [{"metric": one, "value": [1, "0"]} for one in found]
        made.of_kubelet("m2", name, json.dumps({"status": "success", "data": {"result": result}}))
    for probe in {probe for c in CHECKS for probe in c.api(made.cluster)} - set(made.api):
        made.api[probe] = deployment(1, 1)
    return made


class TestWatching:
    def test_targets_that_prometheus_does_not_reach_are_told(self) -> None:
        assert [f.check for f in watched([]).findings] == []
        assert "monitoring.targets" not in {s.check for s in watched([]).diagnosis().skipped}
        one = watched([{"job": "etcd", "instance": "10.0.0.1:2381"}])
        assert one.only.finding.brief == "Prometheus has not reached etcd at 10.0.0.1:2381 for ten minutes"

    def test_alerts_that_do_not_get_through_are_told_where_they_end(self) -> None:
        silent = watched([], watchdog=[{"alertname": "Watchdog", "alertstate": "firing"}]).only
        assert (silent.check, "judges no alerts" in silent.finding.brief) == ("monitoring.watchdog", True)
        assert "do not get to Alertmanager" in watched([], watchdog=[{}]).only.finding.brief

    def test_apis_that_go_are_advice_and_those_that_stay_are_not(self) -> None:
        stays = {"resource": "endpoints", "version": "v1"}
        goes = {"resource": "flowschemas", "version": "v1beta3", "group": "flowcontrol", "removed_release": "1.32"}
        assert "api.deprecated" not in {a.check for a in watched([], [stays]).diagnosis().advice}
        (one,) = (a for a in watched([], [stays, goes]).diagnosis().advice if a.check == "api.deprecated")
        assert "flowschemas.v1beta3.flowcontrol (gone in 1.32)" in one.finding.brief

    def test_who_hears_of_alerts_and_who_reads_metrics_is_advice_while_monitoring_is_on(self) -> None:
        standing = {"monitoring.receivers", "exposure.monitoring"}
        assert standing <= {a.check for a in watched([]).diagnosis().advice}
        assert not standing & {a.check for a in Platform().diagnosis().advice}


def slow_disk(s: Platform, late: int) -> None:
    s.of_kubelet("m2", "etcd-wal", "0.001 10", f"0.128 {10_000 - late}", "0.256 10000", "+Inf 10000")


def kernels(s: Platform, runs: str, *installed: str) -> None:
    system(s, "w1", kernel=runs)
    s.say("w1", p.MACHINE, "kernel", *installed)


def room(s: Platform, cpu: str) -> None:
    """Two workers of 4 CPUs; pods on them ask for `cpu` in all, and as much again that does not move."""
    for name in ("w1", "w2"):
        told = node(name)
        told["status"]["allocatable"] = {"cpu": "4", "memory": "8Gi"}
        listed(s, told)
    asks = {"containers": [{"resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}], "nodeName": "w1"}
    daemon = pod("agent") | {"spec": asks}
    daemon["metadata"] |= {"ownerReferences": [{"kind": "DaemonSet"}]}
    has(s, pod("big") | {"spec": asks}, daemon)


ADVISED: list[tuple[str, Callable[[Platform], object], Callable[[Platform], object], str]] = [
    # Check, what brings it, what is near it and does not, words of the remedy.
    ("etcd.fsync", lambda s: slow_disk(s, 200), lambda s: slow_disk(s, 90), "component=etcd"),
    (
        "cert.superadmin",
        lambda s: s.say("m1", p.CERTIFICATES, "certificate", f"/etc/kubernetes/super-admin.conf\t{end_of(NOW)}"),
        lambda s: None,
        "rm /etc/kubernetes/super-admin.conf",
    ),
    (
        "kubelet.localmode",
        lambda s: s.of_master("m2", "server", "https://api.c.internal:6443"),
        lambda s: s.of_master("m2", "server"),
        "https://10.0.0.2:6443",
    ),
    (
        "pods.evicted",
        lambda s: has(s, pod("old") | {"status": {"phase": "Failed", "reason": "Evicted"}}),
        lambda s: has(s, pod("old") | {"status": {"phase": "Failed", "reason": "Error"}}),
        "delete pods --field-selector",
    ),
    (
        "storage.released",
        lambda s: has(s, item("PersistentVolume", "pv1", status={"phase": "Released"})),
        lambda s: has(s, item("PersistentVolume", "pv1", status={"phase": "Bound"})),
        "describe pv pv1",
    ),
    ("capacity.spare", lambda s: room(s, "4500m"), lambda s: room(s, "3"), "hosts.workers"),
    (
        "rbac.admins",
        lambda s: has(s, binding("x", "cluster-admin", "people")),
        lambda s: has(
            s,
            binding("cluster-admin", "cluster-admin", "system:masters"),
            binding("granted", "cluster-admin", "anna", **{"mlops-infra-access": "anna"}),
        ),
        "describe clusterrolebinding x",
    ),
    (
        "host.reboot",
        lambda s: kernels(s, "6.1.0-18-amd64", "6.1.0-18-amd64", "6.1.0-21-amd64"),
        lambda s: kernels(s, "6.1.0-21-amd64", "6.1.0-18-amd64", "6.1.0-21-amd64", "6.8.0-30-generic"),
        "reboot and uncordon",
    ),
]


@pytest.mark.parametrize(("check", "sicken", "well", "remedy"), ADVISED, ids=[a[0] for a in ADVISED])
def test_advice_is_given_where_it_applies_alone(
    check: str, sicken: Callable[[Platform], object], well: Callable[[Platform], object], remedy: str
) -> None:
    one, other = Platform(), Platform()
    sicken(one)
    (told,) = (a for a in one.diagnosis().advice if a.check == check)
    assert remedy in told.finding.remedy
    assert check not in {f.check for f in one.findings}
    well(other)
    assert check not in {a.check for a in other.diagnosis().advice}
    assert check not in {s.check for s in other.diagnosis().skipped}


def test_few_writes_say_nothing_of_a_disk(sick: Platform) -> None:
    sick.of_kubelet("m2", "etcd-wal", "0.128 100", "+Inf 900", "bad line")
    assert "etcd.fsync" not in {a.check for a in sick.diagnosis().advice}


def test_a_kubelet_behind_the_load_balancer_is_nothing_to_speak_of_in_other_minors() -> None:
    newer = Platform(cluster=cluster_of(versions={"kubernetes": "1.33.1"}))
    newer.of_master("m2", "server", "https://api.c.internal:6443")
    assert "kubelet.localmode" not in {a.check for a in newer.diagnosis().advice}


def test_clocks_of_masters_and_not_ours_judge_leases(sick: Platform) -> None:
    for name in list(sick.facts):
        sick.facts[name][p.SYSTEM] = replace(sick.facts[name][p.SYSTEM], clock=NOW.timestamp() - 3600)
    for probe in p.LEASES:
        sick.api[probe] = lease(3601)
    assert sick.findings == ()


def test_several_things_of_a_kind_are_called_by_their_kind(sick: Platform) -> None:
    has(sick, budget(0), budget(0, name="api"))
    assert sick.only.finding.brief == "2 disruption budgets let no pod go: a drain waits for ever"
