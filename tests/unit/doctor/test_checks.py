"""Each check both ways: a healthy platform has no finding, and each sickness is found, with its remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

import pytest
from sick import (
    APISERVER,
    MASKED,
    MASTER_PODS,
    NOW,
    RESTARTING,
    STOPPED,
    Platform,
    cluster_of,
    containers,
    daemon,
    deployment,
    end_of,
    member,
    node,
    pod,
    status_line,
)

from mlops_infra.core import ABSENT, API, CommandFact, HostProblem
from mlops_infra.doctor import probes as p
from mlops_infra.doctor.catalogue import CHECKS
from mlops_infra.doctor.check import Severity
from mlops_infra.doctor.diagnosis import diagnose
from mlops_infra.doctor.outside import Answered, Target
from mlops_infra.doctor.pods import API_ENDPOINTS, DNS_ENDPOINTS
from mlops_infra.doctor.view import Backup, Local

COPIED = {"copies": [{"name": "s3", "s3": {"bucket": "b", "access_key": {"env": "A"}, "secret_key": {"env": "B"}}}]}
KUBELET_PEM = "/var/lib/kubelet/pki/kubelet-client-current.pem"


def test_a_healthy_platform_has_no_finding(sick: Platform) -> None:
    assert [(f.check, f.host, f.finding.brief) for f in sick.findings] == []
    assert sick.diagnosis().exit_code == 0


def test_on_a_healthy_platform_every_check_is_answered(sick: Platform) -> None:
    # The file names no pool, and switches nothing on.
    off = {
        "metallb.pool",
        "metallb.waiting",
        "ingress.address",
        "monitoring.targets",
        "monitoring.watchdog",
        "api.deprecated",
    } | ADDONS
    assert {s.check for s in sick.diagnosis().skipped} == off


def listed(s: Platform, *others: dict[str, object]) -> None:
    """The API's nodes, those of the same name replaced by `others`."""
    names = {n["metadata"]["name"] for n in others}  # type: ignore[index]
    s.api[p.NODES] = (*(n for n in s.api[p.NODES] if n["metadata"]["name"] not in names), *others)


def forgotten(s: Platform) -> None:
    s.api[p.NODES] = tuple(n for n in s.api[p.NODES] if n["metadata"]["name"] != "w1")


def all_down(s: Platform) -> None:
    for worker in ("w1", "w2"):
        backend(s, f"ingress-http,{worker}", "DOWN")


def learner(s: Platform) -> None:
    wrong_members(s, THREE[0], THREE[1], member("m3", 3, isLearner=True))


def removed(s: Platform) -> None:
    """m2 as a member: its etcd ended, and the others do not count it."""
    wrong_members(s, THREE[0], THREE[2])
    s.etcd_stops("m2")
    s.of_master("m2", "own", "HTTP/1.0 500 Internal Server Error", "[-]etcd failed")
    backend(s, "api,m2", "DOWN")


def ended(s: Platform, host: str, path: str) -> None:
    s.say(host, p.CERTIFICATES, "certificate", f"{path}\t{end_of(NOW - timedelta(1))}")


def old_backup(s: Platform) -> None:
    s.local = Local(backups=(Backup("b", NOW - timedelta(9)),))


ADDONS = {"storage.provisioner", "metrics.server", "monitoring.prometheus"}
ADDONS |= {"monitoring.alertmanager", "monitoring.grafana"}

Case = tuple[str, str, Callable[[Platform], object], str]


def disk(free: int) -> str:
    return f"/dev/sda 1000000 {1000000 - free} {free} 1% /"


def no_answers(s: Platform) -> None:
    s.of_kubelet("w1", "endpoint", "connect:errno=110")


def rebooted(s: Platform) -> None:
    for name in ("m1", "m2", "m3", "w1", "w2"):
        s.of_kubelet(name, "endpoint", "connect:errno=111")
    s.outside = (Answered(Target("api", "lb1", "10.0.0.20", 6443), None, "Connection refused"),)


def spread_clock(s: Platform) -> None:
    s.facts["w1"][p.SYSTEM] = replace(s.facts["w1"][p.SYSTEM], clock=NOW.timestamp() + 40)


def empty(s: Platform) -> None:
    for name in ("m1", "m2", "m3", "w1", "w2"):
        s.facts[name][p.KUBELET_CONF] = ABSENT
    s.api_down()


def no_api_server(s: Platform) -> None:
    for name in ("m1", "m2", "m3"):
        s.of_master(name, "own", "connect:errno=111")


def csr(minutes: int) -> dict[str, object]:
    made = (NOW - timedelta(minutes=minutes)).isoformat()
    return {
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "csr-1", "creationTimestamp": made},
        "spec": {"signerName": "kubernetes.io/kubelet-serving", "username": "system:node:w1"},
    }


def backend(s: Platform, name: str, status: str) -> None:
    old = s.facts["lb1"][p.BACKENDS].stdout
    s.facts["lb1"][p.BACKENDS] = CommandFact(0, old.replace(f"{name},UP", f"{name},{status}"))


def other_backend(s: Platform) -> None:
    """Written by hand and reloaded: m2 itself is well."""
    s.drift("lb1", "file:/etc/haproxy/haproxy.cfg")
    backend(s, "api,m2", "DOWN")


def forwards(s: Platform, *targets: str) -> None:
    s.api[p.COREFILE] = {"data": {"Corefile": f".:53 {{\n    forward . {' '.join(targets)} {{\n    }}\n    loop\n}}\n"}}


def wrong_members(s: Platform, *members: dict[str, object]) -> None:
    for name in ("m1", "m2", "m3"):
        s.of_master(name, "members", json.dumps({"members": list(members)}))


THREE = (member("m1", 1), member("m2", 2), member("m3", 3))
UP_W1 = "mlops-infra up --limit w1"


def on(host: str, text: str) -> str:
    return f"mlops-infra hosts exec --limit {host} -- {text}"


def pods_without(s: Platform, host: str, name: str) -> None:
    left = [pod for pod in MASTER_PODS if not pod.endswith(name)]
    s.facts[host][p.CONTAINERS] = CommandFact(0, containers(*left))


STRANGER = {"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.9"}]}]}


def runs(s: Platform, minutes: int = 60, **more: object) -> None:
    s.api[p.OBJECTS] = (pod("web"), pod("bad", minutes, **more))


INTERNAL = {"type": "InternalIP", "address": "192.0.2.7"}


def system(s: Platform, host: str, **more: object) -> None:
    s.facts[host][p.SYSTEM] = replace(s.facts[host][p.SYSTEM], **more)


def status(s: Platform, host: str, **more: object) -> None:
    told = node(host)
    told["status"] |= more
    listed(s, told)


def condition(s: Platform, host: str, kind: str) -> None:
    status(s, host, conditions=[*node(host)["status"]["conditions"], {"type": kind, "status": "True"}])


def versions(s: Platform, host: str, **more: str) -> None:
    status(s, host, nodeInfo={"osImage": "Ubuntu 24.04 LTS", **more})


def lagging(s: Platform) -> None:
    for name, index in (("m1", 50_000), ("m2", 30_000), ("m3", 50_010)):
        s.of_master(name, "status", status_line(raftAppliedIndex=str(index)))


CASES: list[Case] = [
    ("host.ssh", "w1", lambda s: s.lose("w1"), "look"),
    ("host.hostkey", "w1", lambda s: s.lose("w1", "HostKeyChanged"), "look"),
    ("host.login", "w1", lambda s: s.lose("w1", "AuthFailed"), "look"),
    ("host.sudo", "w1", lambda s: s.lose("w1", "SudoDenied"), "look"),
    ("platform.built", "", empty, "mlops-infra up"),
    ("host.built", "w1", lambda s: s.facts["w1"].update({p.KUBELET_CONF: ABSENT}), UP_W1),
    ("host.built", "lb1", lambda s: s.facts["lb1"].update({p.HAPROXY_CONFIG: ABSENT}), "mlops-infra up --limit lb1"),
    ("host.disk", "w1", lambda s: s.say("w1", p.MACHINE, "disk", disk(40000)), "journalctl"),
    ("host.inodes", "w1", lambda s: s.say("w1", p.MACHINE, "inodes", "/dev/sda 1000 999 1 99% /"), "journalctl"),
    ("host.time", "w1", spread_clock, "timesyncd"),
    ("host.time", "w1", lambda s: s.say("w1", p.MACHINE, "synchronised", "no"), "timesync-status"),
    ("host.time", "w1", lambda s: s.drift("w1", "unit:systemd-timesyncd.service", reason="masked"), UP_W1),
    ("host.swap", "w1", lambda s: s.drift("w1", "swap", reason="in /etc/fstab"), UP_W1),
    ("host.modules", "w1", lambda s: s.drift("w1", "kernel-modules:/etc/x"), UP_W1),
    ("host.sysctl", "w1", lambda s: s.drift("w1", "sysctls:/etc/x"), UP_W1),
    ("host.packages", "w1", lambda s: s.drift("w1", "packages:kubernetes", reason="not held"), UP_W1),
    ("host.units", "w1", lambda s: s.say("w1", p.MACHINE, "failed", "cron.service"), "systemctl restart cron.service"),
    ("cri.up", "w1", lambda s: s.facts["w1"].update({p.CONTAINERD: STOPPED}), on("w1", "systemctl start containerd")),
    ("cri.up", "w1", lambda s: s.facts["w1"].update({p.CONTAINERD: MASKED}), "systemctl unmask containerd"),
    ("cri.up", "w1", lambda s: s.facts["w1"].update({p.CONTAINERD: ABSENT}), UP_W1),
    ("cri.config", "w1", lambda s: s.drift("w1", "file:/etc/containerd/config.toml"), UP_W1),
    ("cri.config", "w1", lambda s: s.of_kubelet("w1", "cri", "unknown service runtime.v1"), "restart containerd"),
    ("kubelet.up", "w1", lambda s: s.facts["w1"].update({p.KUBELET: STOPPED}), on("w1", "systemctl start kubelet")),
    ("kubelet.up", "w1", lambda s: s.facts["w1"].update({p.KUBELET: MASKED}), "systemctl unmask kubelet"),
    ("kubelet.up", "w1", lambda s: s.of_kubelet("w1", "healthz", "refused"), "systemctl restart kubelet"),
    ("kubelet.csr", "", lambda s: s.api.update({p.OBJECTS: (csr(60),)}), "certificate approve csr-1"),
    ("cp.manifest", "m2", lambda s: s.of_master("m2", "missing", "kube-scheduler"), "control-plane scheduler"),
    ("api.server", "m2", lambda s: s.of_master("m2", "own", "connect:errno=111"), "kube-apiserver"),
    ("api.lb", "", rebooted, "mlops-infra up --limit lb1"),
    ("api.lb", "", no_answers, UP_W1),
    ("etcd.member", "m2", lambda s: s.etcd_stops("m2"), "systemctl restart"),
    ("etcd.removed", "m2", removed, "member add m2 --learner --peer-urls=https://10.0.0.2:2380"),
    ("etcd.members", "", lambda s: wrong_members(s, *THREE, member("old", 9)), "member remove a9"),
    ("etcd.members", "", learner, "member remove a3"),
    ("etcd.alarm", "", lambda s: s.of_master("m2", "status", status_line(errors=["alarm:NOSPACE "])), "alarm disarm"),
    ("etcd.size", "m2", lambda s: s.of_master("m2", "status", status_line(2 * 1024**3)), "defrag"),
    ("lb.haproxy", "lb1", lambda s: s.facts["lb1"].update({p.HAPROXY: STOPPED}), on("lb1", "systemctl start haproxy")),
    ("lb.config", "lb1", lambda s: s.drift("lb1", "file:/etc/haproxy/haproxy.cfg"), "mlops-infra up --limit lb1"),
    ("lb.config", "lb1", lambda s: s.say("lb1", p.BALANCER, "checked", "1"), "mlops-infra up --limit lb1"),
    ("lb.config", "lb1", other_backend, "mlops-infra up --limit lb1"),
    ("lb.backends", "", lambda s: backend(s, "api,m2", "DOWN"), on("lb1", "systemctl reload haproxy")),
    ("lb.ingress", "", all_down, "mlops-infra up"),
    ("cp.controllers", "m2", lambda s: pods_without(s, "m2", "kube-scheduler"), "systemctl restart kubelet"),
    ("node.ready", "w1", lambda s: listed(s, node("w1", "False")), "systemctl restart"),
    ("node.ready", "w1", forgotten, "kubelet"),
    ("node.cordoned", "w1", lambda s: listed(s, node("w1", unschedulable=True)), "uncordon w1"),
    ("node.orphan", "", lambda s: listed(s, node("old")), "delete node old"),
    ("cni.flannel", "", lambda s: s.api.update({p.FLANNEL: ABSENT}), "mlops-infra network apply"),
    ("cni.flannel", "", lambda s: s.drift(API, "api:Flannel"), "mlops-infra network apply"),
    ("cni.flannel", "", lambda s: s.api.update({p.FLANNEL: daemon(4)}), "rollout restart daemonset/kube-flannel-ds"),
    ("svc.kubeproxy", "", lambda s: s.api.update({p.KUBE_PROXY: ABSENT}), "phase addon kube-proxy"),
    ("svc.kubeproxy", "", lambda s: s.of_kubelet("w1", "proxyz", "refused"), "rollout restart daemonset/kube-proxy"),
    ("dns.cluster", "", lambda s: s.api.update({p.COREDNS: deployment(0, 0)}), "scale deployment/coredns --replicas=2"),
    ("dns.cluster", "", lambda s: s.api.update({p.COREDNS: deployment(0)}), "rollout restart deployment/coredns"),
    ("dns.loop", "", lambda s: forwards(s, "127.0.0.1"), '"s#forward \\. 127\\.0\\.0\\.1#forward . /etc/'),
    ("metallb.controller", "", lambda s: s.api.update({p.METALLB_CONTROLLER: ABSENT}), "mlops-infra up"),
    ("metallb.speaker", "", lambda s: s.api.update({p.METALLB_SPEAKER: ABSENT}), "mlops-infra up"),
    ("metallb.webhook", "", lambda s: s.api.update({p.METALLB_ENDPOINTS: {}}), "rollout restart deployment/controller"),
    ("metallb.webhook", "", lambda s: s.api.update({p.METALLB_ENDPOINTS: ABSENT}), "mlops-infra up"),
    ("metallb.webhook", "", lambda s: s.api.update({p.METALLB_WEBHOOK: ABSENT}), "mlops-infra up"),
    ("ingress.up", "", lambda s: s.api.update({p.ingress(s.cluster): deployment(0)}), "rollout restart"),
    ("cert.expiry", "m2", lambda s: ended(s, "m2", APISERVER), "certs renew apiserver && pkill -f ^kube-apiserver"),
    ("kubelet.cert", "w1", lambda s: ended(s, "w1", KUBELET_PEM), "delete node w1"),
    ("platform.half", "", lambda s: s.half_done.append(HostProblem("w1", "join: half-done", remedy="reset")), "reset"),
    ("host.readonly", "w1", lambda s: s.say("w1", p.MACHINE, "mount", "/ rw", "/var/lib ro"), "dmesg"),
    ("host.memory", "w1", lambda s: s.say("w1", p.MACHINE, "memory", "1000000 9000"), "ps -eo"),
    ("host.conntrack", "w1", lambda s: s.say("w1", p.MACHINE, "conntrack", "800 1000"), "nf_conntrack_max=2000"),
    ("host.dpkg", "w1", lambda s: s.say("w1", p.MACHINE, "dpkg", "/var/lib/dpkg/updates/0001"), "dpkg --configure -a"),
    ("host.dpkg", "w1", lambda s: s.say("w1", p.MACHINE, "half", "tzdata"), "dpkg --configure -a"),
    ("host.resolver", "w1", lambda s: s.say("w1", p.MACHINE, "stub", "127.0.0.53"), "resolv.conf"),
    ("host.unique", "", lambda s: system(s, "w2", machine_id="id4"), "systemd-machine-id-setup"),
    ("pki.keys", "m2", lambda s: s.of_master("m2", "open", "/etc/kubernetes/pki/ca.key"), "chmod 600 /etc/kubernetes"),
    ("etcd.version", "", lambda s: s.of_master("m2", "status", status_line(version="3.5.9")), "up --limit m2"),
    ("etcd.leader", "", lambda s: s.of_master("m2", "status", status_line(leader="162")), "endpoint status"),
    ("etcd.lag", "m2", lagging, "journalctl"),
    ("etcd.space", "m2", lambda s: s.of_master("m2", "status", status_line(2**30, dbSizeInUse="1000")), "defrag"),
    ("node.network", "w1", lambda s: condition(s, "w1", "NetworkUnavailable"), "restart kubelet"),
    ("node.address", "w1", lambda s: status(s, "w1", addresses=[INTERNAL]), UP_W1),
    ("kubelet.skew", "w1", lambda s: versions(s, "w1", kubeletVersion="v1.99.0"), UP_W1),
    ("kubelet.skew", "w1", lambda s: versions(s, "w1", kubeletVersion="v1.20.0"), UP_W1),
    ("cri.version", "w1", lambda s: versions(s, "w1", containerRuntimeVersion="containerd://1.7.12"), UP_W1),
    ("pods.crash", "", lambda s: runs(s, waiting="CrashLoopBackOff", restarts=9), "-n shop logs bad"),
    ("pods.crash", "", lambda s: runs(s, ended=1, restarts=9), "-n shop logs bad"),
    ("pods.image", "", lambda s: runs(s, waiting="ImagePullBackOff"), "-n shop describe pod bad"),
    ("pods.pending", "", lambda s: runs(s, phase="Pending", node=""), "-n shop describe pod bad"),
    ("pods.terminating", "", lambda s: runs(s, deleted=30), "-n shop describe pod bad"),
    ("dns.service", "", lambda s: s.api.update({DNS_ENDPOINTS: {"subsets": None}}), "k8s-app=kube-dns"),
    ("api.endpoints", "", lambda s: s.api.update({API_ENDPOINTS: STRANGER}), "get nodes"),
    ("plan.drift", "", lambda s: s.drift("w1", "file:/etc/x"), UP_W1),
    ("plan.drift", "", lambda s: s.drift(API, "api:Other"), "mlops-infra up"),
    ("backup.age", "", old_backup, "mlops-infra backup etcd"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "host", "sicken", "remedy"), CASES, ids=[f"{c[0]}-{n}" for n, c in enumerate(CASES)])
def test_each_sickness_is_the_first_finding_with_its_remedy(
    sick: Platform, check: str, host: str, sicken: Callable[[Platform], object], remedy: str
) -> None:
    sicken(sick)
    assert sick.said[:1] == [(check, host)]
    assert remedy in sick.findings[0].finding.remedy
    assert sick.diagnosis().exit_code in (2, 3)


class TestThoseThatNeedMoreWords:
    def test_a_kubelet_that_cannot_read_its_configuration_is_told_by_its_own_words(self, sick: Platform) -> None:
        sick.facts["w1"][p.KUBELET] = RESTARTING
        sick.of_kubelet(
            "w1", "kubelet-log", 'err="failed to load kubelet config file, path: /var/lib/kubelet/config.yaml"'
        )
        assert sick.only.check == "kubelet.config"
        assert "failed to load kubelet config file" in sick.only.finding.evidence
        assert "kubeadm upgrade node phase kubelet-config" in sick.only.finding.remedy
        assert [f.check for f in sick.only.follows] == ["kubelet.up"]

    def test_words_of_a_kubelet_that_runs_by_now_are_history(self, sick: Platform) -> None:
        sick.of_kubelet("w1", "kubelet-log", "failed to load kubelet config file")
        assert sick.findings == ()

    def test_two_members_down_are_no_majority_and_told_below_the_first_of_them(self, sick: Platform) -> None:
        for name in ("m2", "m3"):
            sick.etcd_stops(name)
        sick.of_master("m1", "status", status_line(leader="0", errors=["etcdserver: no leader"]))
        sick.of_master("m1", "members")
        first = sick.findings[0]
        assert (first.check, first.host) == ("etcd.member", "m2")
        quorum = next(f for f in first.follows if f.check == "etcd.quorum")
        assert quorum.severity is Severity.CRITICAL
        assert "no majority" in quorum.finding.brief

    def test_a_wrong_backend_is_the_balancers_file_and_the_master_is_left_alone(self, sick: Platform) -> None:
        other_backend(sick)
        assert (sick.only.check, sick.only.severity) == ("lb.config", Severity.ERROR)
        assert "holds m2 for down, which is well" in sick.only.finding.brief
        assert [(f.check, f.finding.remedy) for f in sick.only.follows] == [
            ("lb.backends", "mlops-infra up --limit lb1")
        ]

    def test_a_changed_file_is_not_the_cause_of_an_api_server_that_is_not_ready(self, sick: Platform) -> None:
        other_backend(sick)
        sick.of_master("m2", "own", "connect:errno=111")
        assert sick.said == [("api.server", "m2"), ("lb.config", "lb1")]
        assert sick.findings[1].severity is Severity.WARNING

    def test_a_wrong_backend_of_the_ingress_too(self, sick: Platform) -> None:
        sick.drift("lb1", "file:/etc/haproxy/haproxy.cfg")
        backend(sick, "ingress-http,w1", "DOWN")
        assert (sick.only.check, sick.only.severity) == ("lb.config", Severity.ERROR)
        assert [f.check for f in sick.only.follows] == ["lb.ingress"]

    @pytest.mark.parametrize(
        "targets", [("10.0.0.53", "127.0.0.1:53"), ("[::1]:53",), ("10.96.0.10",), ("dns://127.0.0.53",)]
    )
    def test_a_loop_explains_the_pods_that_end(self, sick: Platform, targets: tuple[str, ...]) -> None:
        forwards(sick, *targets)
        sick.api[p.COREDNS] = deployment(0)
        sick.api[DNS_ENDPOINTS] = {"subsets": []}
        dns_pod = pod("coredns-1", waiting="CrashLoopBackOff", restarts=9)
        sick.api[p.OBJECTS] = (*sick.api[p.OBJECTS], dns_pod)
        for name in ("m1", "m2", "m3", "w1", "w2"):
            sick.of_kubelet(name, "dns", "silent")
        assert sick.only.check == "dns.loop"
        assert {f.check for f in sick.only.follows} == {"dns.cluster", "dns.service", "dns.answer", "pods.crash"}

    @pytest.mark.parametrize("targets", [("/etc/resolv.conf",), ("10.0.0.53", "tls://9.9.9.9:853")])
    def test_who_forwards_to_others_makes_no_loop(self, sick: Platform, targets: tuple[str, ...]) -> None:
        forwards(sick, *targets)
        assert sick.findings == ()

    def test_a_nodes_own_resolver_is_the_cause_where_coredns_ends_on_it(self, sick: Platform) -> None:
        sick.say("w1", p.MACHINE, "stub", "127.0.0.53")
        assert (sick.only.check, sick.only.severity) == ("host.resolver", Severity.WARNING)
        dns_pod = pod("coredns-1", waiting="CrashLoopBackOff", restarts=9)
        dns_pod["metadata"] |= {"namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}}
        sick.api[p.OBJECTS] = (*sick.api[p.OBJECTS], dns_pod)
        sick.api[p.COREDNS] = deployment(0)
        assert (sick.only.check, sick.only.severity) == ("host.resolver", Severity.ERROR)
        assert {f.check for f in sick.only.follows} == {"dns.cluster", "pods.crash"}

    def test_what_up_would_put_back_of_metallbs_webhook_is_told_below_it(self, sick: Platform) -> None:
        sick.api[p.METALLB_WEBHOOK] = ABSENT
        sick.drift(API, "api:MetalLB")
        assert sick.only.check == "metallb.webhook"
        assert "not registered" in sick.only.finding.brief
        assert [f.check for f in sick.only.follows] == ["plan.drift"]

    def test_a_removed_member_explains_all_that_its_etcd_does_not_do(self, sick: Platform) -> None:
        removed(sick)
        assert {f.check for f in sick.only.follows} == {"etcd.member", "etcd.quorum", "api.server", "lb.backends"}
        (quorum,) = (f for f in sick.only.follows if f.check == "etcd.quorum")
        assert "2 of 3 members left" in quorum.finding.brief
        assert sick.only.finding.remedy.startswith("mlops-infra hosts exec --limit m2 -- 'set -e;")

    def test_while_it_is_joined_again_its_manifest_lies_aside_and_the_cause_is_the_same(self, sick: Platform) -> None:
        removed(sick)
        sick.of_master("m2", "missing", "etcd")
        sick.of_master("m2", "elsewhere", "etcd\t/root/etcd.yaml")
        sick.half_done.append(HostProblem("m2", "join: half-done", remedy="reset"))
        assert sick.said == [("etcd.removed", "m2")]

    def test_a_master_that_has_yet_to_join_was_not_removed(self, sick: Platform) -> None:
        removed(sick)
        sick.of_master("m2", "missing", "etcd")
        assert ("etcd.removed", "m2") not in sick.said

    def test_an_etcd_of_its_own_is_no_member_and_the_larger_cluster_is_the_platforms(self, sick: Platform) -> None:
        wrong_members(sick, THREE[1], THREE[2])
        sick.of_master("m1", "members", json.dumps({"members": [member("m1", 7)]}))
        (first, *_) = sick.findings
        assert (first.check, first.host) == ("etcd.removed", "m1")
        assert "an etcd of its own" in first.finding.brief
        assert "exec etcd-m2 --" in first.finding.remedy

    def test_an_etcd_without_data_is_not_given_a_manifest_with_which_it_would_begin_anew(self, sick: Platform) -> None:
        sick.of_master("m2", "missing", "etcd")
        assert "[ -d /var/lib/etcd/member/wal ] &&" in sick.findings[0].finding.remedy

    def test_a_member_that_refuses_us_is_told_in_the_words_of_tls(self, sick: Platform) -> None:
        sick.of_master(
            "m2",
            "status",
            "802B7625137F0000:error:0A000418:SSL routines:ssl3_read_bytes:tlsv1 alert unknown ca:"
            "../ssl/record/rec_layer_s3.c:1601:SSL alert number 48",
        )
        assert sick.findings[0].check == "etcd.member"
        assert sick.findings[0].finding.evidence == "SSL routines: tlsv1 alert unknown ca: SSL alert number 48"

    def test_a_majority_that_is_lost_while_it_is_asked_is_none(self, sick: Platform) -> None:
        for name in ("m1", "m2", "m3"):
            sick.of_master(
                name, "members", "HTTP/1.0 503 Service Unavailable", '{"error":"request timed out","code":14}'
            )
        assert (sick.only.check, sick.only.severity) == ("etcd.quorum", Severity.CRITICAL)

    def test_one_member_down_leaves_no_further_failure(self, sick: Platform) -> None:
        sick.etcd_stops("m3")
        assert any("survives no further failure: 2 of 3" in f.finding.brief for f in sick.only.follows)

    def test_no_api_server_at_all_is_one_of_each_master_and_critical(self, sick: Platform) -> None:
        no_api_server(sick)
        sick.api_down()
        assert sick.findings[0].check == "api.server"
        assert any(f.check == "api.none" for f in sick.findings[0].follows)

    def test_pressure_is_what_the_node_reports(self, sick: Platform) -> None:
        pressed = node("w1")
        pressed["status"]["conditions"].append({"type": "DiskPressure", "status": "True", "message": "full"})
        sick.api[p.NODES] = (*(n for n in sick.api[p.NODES] if n["metadata"]["name"] != "w1"), pressed)
        assert sick.only.check == "node.pressure"

    def test_pools_and_addresses_are_missed_only_where_the_file_names_a_pool(self, sick: Platform) -> None:
        sick.api[p.METALLB_POOL] = ABSENT
        sick.api[p.INGRESS_LB] = {"status": {}}
        assert sick.findings == ()
        with_pool = Platform(cluster=cluster_of(metallb={"pool": ["10.0.0.100-10.0.0.110"]}))
        with_pool.api[p.METALLB_POOL] = ABSENT
        with_pool.api[p.INGRESS_LB] = {"status": {}}
        assert with_pool.only.check == "metallb.pool"
        assert [f.check for f in with_pool.only.follows] == ["ingress.address"]

    def test_what_is_not_installed_is_skipped_and_no_finding(self, sick: Platform) -> None:
        for probe in (p.METALLB_CONTROLLER, p.METALLB_SPEAKER, p.ingress(sick.cluster)):
            sick.api[probe] = ABSENT
        assert sick.findings == ()
        reasons = {s.check: s.reason for s in sick.diagnosis().skipped}
        assert reasons["metallb.speaker"] == "MetalLB is not installed"
        assert reasons["ingress.up"] == "the ingress controller is not installed"

    def test_it_is_the_chosen_ingress_controller_that_is_looked_at(self) -> None:
        chosen = Platform(cluster=cluster_of(ingress={"controller": "traefik"}))
        assert chosen.findings == ()
        (there,) = (probe for probe in chosen.api if getattr(probe, "name", "") == "traefik")
        chosen.api[there] = deployment(0, 2)
        assert chosen.findings[0].check == "ingress.up"
        assert "rollout restart deployment/traefik" in chosen.findings[0].finding.remedy

    def test_swap_in_use_is_worse_than_swap_at_the_next_boot(self, sick: Platform) -> None:
        sick.drift("w1", "swap", reason="in /etc/fstab")
        assert sick.only.severity is Severity.WARNING
        sick.facts["w1"][p.SWAPS] = ("/swap.img",)
        sick.changes.clear()
        sick.drift("w1", "swap", reason="active", diff="swap: /swap.img → none")
        assert sick.findings[0].severity.word == "error"
        assert "/swap.img" in sick.only.finding.brief

    def test_containers_have_the_clock_of_their_machine(self, sick: Platform) -> None:
        sick.say("w1", p.MACHINE, "synchronised", "no")
        sick.facts["w1"][p.SYSTEM] = replace(sick.facts["w1"][p.SYSTEM], virtualization="systemd-nspawn")
        assert sick.findings == ()

    def test_a_moved_manifest_is_put_back_from_where_it_lies(self, sick: Platform) -> None:
        sick.of_master("m2", "missing", "etcd")
        sick.of_master("m2", "elsewhere", "etcd\t/root/etcd.yaml")
        sick.etcd_stops("m2")
        sick.of_master("m2", "own", "HTTP/1.0 500 Internal Server Error", "[-]etcd failed")
        assert sick.only.finding.remedy == on("m2", "mv /root/etcd.yaml /etc/kubernetes/manifests/etcd.yaml")
        assert {f.check for f in sick.only.follows} == {"etcd.member", "etcd.quorum", "api.server"}

    def test_a_ca_has_no_command_that_renews_it(self, sick: Platform) -> None:
        sick.say("m2", p.CERTIFICATES, "certificate", f"/etc/kubernetes/pki/ca.crt\t{end_of(NOW + timedelta(200))}")
        assert sick.only.severity is Severity.WARNING
        assert "by hand" in sick.only.finding.remedy

    def test_a_young_request_for_a_certificate_is_left_to_the_approver(self, sick: Platform) -> None:
        sick.api[p.OBJECTS] = (csr(5),)
        assert sick.findings == ()

    def test_an_endpoint_that_only_this_machine_misses_is_a_warning(self, sick: Platform) -> None:
        sick.outside = (Answered(Target("api", "lb1", "10.0.0.20", 6443), None, "no answer within 3 s"),)
        assert (sick.only.check, sick.only.severity) == ("api.lb", Severity.WARNING)

    def test_other_notions_of_what_kubeadm_was_given_are_warnings(self, sick: Platform) -> None:
        from mlops_infra.core import ApiObject

        probe = ApiObject("v1", "ConfigMap", "kubeadm-config", "kube-system")
        text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.30.0\n"
        sick.api[probe] = {"data": {"ClusterConfiguration": text}}
        assert {f.check for f in sick.findings} == {"cluster.config"}
        assert any("kubernetesVersion is v1.30.0" in f.finding.brief for f in sick.findings)

    def test_an_ended_certificate_is_also_why_nodes_refuse_the_endpoint(self, sick: Platform) -> None:
        ended(sick, "m3", APISERVER)
        sick.of_kubelet("w1", "endpoint", "verify error:num=10:certificate has expired")
        assert (sick.only.check, sick.only.host) == ("cert.expiry", "m3")
        assert [f.check for f in sick.only.follows] == ["api.lb"]


class TestWhatIsSwitchedOn:
    """Asked where cluster.yaml switches it on, and nowhere else."""

    ON: ClassVar[dict[str, object]] = {
        "storage": {"class": "local-path"},
        "metrics": {"enabled": True},
        "monitoring": {"enabled": True},
    }

    def platform(self, *down: str) -> Platform:
        made = Platform(cluster=cluster_of(**self.ON))
        for check in CHECKS:
            if check.id in ADDONS:
                (probe,) = check.api(made.cluster)
                made.api[probe] = deployment(0, 1) if check.id in down else deployment(1, 1)
        return made

    def test_all_of_it_runs_and_nothing_is_said(self) -> None:
        assert self.platform().findings == ()
        assert not {s.check for s in self.platform().diagnosis().skipped} & ADDONS

    @pytest.mark.parametrize("check", sorted(ADDONS))
    def test_what_does_not_run_is_told(self, check: str) -> None:
        assert self.platform(check).only.check == check

    def test_what_was_deleted_is_made_again_by_its_command(self) -> None:
        made = self.platform()
        made.api = {p_: (ABSENT if getattr(p_, "name", "") == "grafana" else a) for p_, a in made.api.items()}
        assert made.only.finding.remedy == "mlops-infra monitoring apply"

    def test_what_is_off_is_not_asked_of_the_api(self) -> None:
        off = cluster_of(storage={"class": "none"}, metrics={"enabled": False}, monitoring={"enabled": False})
        assert [c.id for c in CHECKS if c.id in ADDONS and c.api(off)] == []


class TestTheOtherWay:
    """What is near a threshold, or is not told at all, is no finding."""

    @pytest.mark.parametrize(
        "well",
        [
            lambda s: runs(s, waiting="CrashLoopBackOff", restarts=2),
            lambda s: runs(s, ended=0, restarts=9),
            lambda s: runs(s, ended=1, restarts=9, phase="Failed"),
            lambda s: runs(s, waiting="ContainerCreating"),
            lambda s: runs(s, minutes=5, phase="Pending", node=""),
            lambda s: runs(s, phase="Pending", node="w1"),
            lambda s: runs(s, deleted=1),
            lambda s: runs(s, deleted=-1),
            lambda s: s.api.update({API_ENDPOINTS: {"subsets": [{"addresses": [{"ip": "10.0.0.1"}]}]}}),
            lambda s: s.say("w1", p.MACHINE, "mount", "/ ro", "/ rw", "/var rw"),
            lambda s: s.say("w1", p.MACHINE, "memory", "1000000 30000"),
            lambda s: s.say("w1", p.MACHINE, "memory", " 30000"),
            lambda s: s.say("w1", p.MACHINE, "conntrack", "740 1000"),
            lambda s: s.say("w1", p.MACHINE, "conntrack", "0 0"),
            lambda s: system(s, "lb1", cgroup_version=1),
            lambda s: system(s, "w1", machine_id=""),
            lambda s: s.of_master("m2", "status", status_line(raftAppliedIndex="9000")),
            lambda s: s.of_master("m2", "status", status_line(1000, dbSizeInUse="10")),
            lambda s: s.of_master("m2", "status", status_line(2**30, dbSizeInUse=str(2**30 - 5))),
            lambda s: status(s, "w1", addresses=[{"type": "InternalIP", "address": "10.0.0.11"}, INTERNAL]),
            lambda s: versions(s, "w1", kubeletVersion="v1.29.3", containerRuntimeVersion="containerd://1.7.27"),
            lambda s: versions(s, "w1", kubeletVersion="v1.31.4", containerRuntimeVersion="cri-o://1.30.0"),
            lambda s: versions(s, "w1", containerRuntimeVersion="containerd://2.0.0", osImage="Debian 12"),
        ],
    )
    def test_it_is_no_finding(self, sick: Platform, well: Callable[[Platform], object]) -> None:
        well(sick)
        assert sick.findings == ()

    def test_many_pods_of_one_kind_are_one_finding_and_fold_below_their_node(self, sick: Platform) -> None:
        sick.api[p.OBJECTS] = tuple(pod(f"p{n}", waiting="ImagePullBackOff") for n in range(9))
        assert sick.only.finding.brief == "9 pods wait for an image that cannot be pulled"
        assert sick.only.finding.evidence.splitlines()[-1] == "and 3 more"
        sick.lose("w1")
        sick.api[p.OBJECTS] = (pod("p", deleted=60),)
        assert sick.only.check == "host.ssh"
        assert "pods.terminating" in {f.check for f in sick.only.follows}

    def test_cgroup_v1_is_advice_that_names_the_hosts(self, sick: Platform) -> None:
        assert "host.cgroup" not in {a.check for a in sick.diagnosis().advice}
        system(sick, "w1", cgroup_version=1)
        (one,) = (a for a in sick.diagnosis().advice if a.check == "host.cgroup")
        assert "w1: cgroup v1" in one.finding.brief
        assert "unified_cgroup_hierarchy" in one.finding.remedy

    def test_a_reboot_that_waits_is_advice_that_names_the_hosts(self, sick: Platform) -> None:
        sick.say("w1", p.MACHINE, "reboot", "yes")
        assert sick.findings == ()
        (one,) = (a for a in sick.diagnosis().advice if a.check == "host.reboot")
        assert "w1" in one.finding.brief

    @pytest.mark.parametrize(
        ("holders", "severity"), [(("lb1",), None), ((), Severity.CRITICAL), (("lb1", "lb2"), Severity.ERROR)]
    )
    def test_the_shared_address_is_held_by_exactly_one(
        self, holders: tuple[str, ...], severity: Severity | None
    ) -> None:
        pair = [{"name": "lb1", "address": "10.0.0.20"}, {"name": "lb2", "address": "10.0.0.21"}]
        hosts = {"lb": pair, "masters": [{"name": "m1", "address": "10.0.0.1"}]}
        two = Platform(cluster=cluster_of(hosts=hosts, lb={"vip": {"address": "10.0.0.30", "interface": "eth0"}}))
        for name in holders:
            system(two, name, addresses=("10.0.0.9", "10.0.0.30"))
        found = [f for f in two.findings if f.check == "lb.vip"]
        assert [f.severity for f in found] == ([] if severity is None else [severity])


class TestAdvice:
    def test_advice_is_no_finding_and_never_changes_the_exit_code(self, sick: Platform) -> None:
        sick.local = Local(warnings=(("versions.kubernetes", "Kubernetes 1.31 is past its end of life"),))
        found = sick.diagnosis()
        assert found.findings == ()
        assert found.exit_code == 0
        assert {a.check for a in found.advice} == {"backup.none", "version.eol", "lb.single", "exposure.metrics"}

    def test_a_warning_of_the_file_is_told_once_and_under_its_own_name(self, sick: Platform) -> None:
        places = ("versions.containerd", "monitoring.receivers", "hosts.masters")
        sick.local = Local(warnings=tuple((place, place) for place in places))
        told = [(a.check, a.finding.brief) for a in sick.diagnosis().advice if "." in a.finding.brief]
        assert ("version.eol", "versions.containerd") in told
        assert ("file.warnings", "hosts.masters: hosts.masters") in told
        assert not [brief for _, brief in told if "receivers" in brief]

    def test_advice_that_was_followed_is_not_repeated(self) -> None:
        heeded = Platform(
            cluster=cluster_of(
                security={"expose_metrics": False},
                hosts={"masters": [{"name": "m1", "address": "10.0.0.1"}]},
                backup=COPIED,
            )
        )
        assert diagnose(CHECKS, heeded.view).advice == ()
