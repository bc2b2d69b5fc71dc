"""Causes are told once, with what follows from them, in the order of mending; whatever part of the platform is gone."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sick import (
    ABSENT,
    MASTER_PODS,
    RESTARTING,
    STOPPED,
    Platform,
    cluster_of,
    containers,
    daemon,
    deployment,
    flags,
    ingress_service,
    node,
)

from mlops_infra.app.doctor import chosen_checks, diagnosis_shape, explained, questions_of
from mlops_infra.core import API, UNKNOWN, CommandFact, Phase, Step
from mlops_infra.doctor import probes as p
from mlops_infra.doctor import scripts
from mlops_infra.doctor.catalogue import CHECKS
from mlops_infra.doctor.check import Severity, kubectl, named, on_host
from mlops_infra.doctor.diagnosis import diagnose
from mlops_infra.doctor.outside import Answered, Target, ask, targets
from mlops_infra.doctor.view import Local
from mlops_infra.engine.connect import Master
from mlops_infra.engine.run import Engine, Settings
from mlops_infra.errors import ExitCode, UsageError
from mlops_infra.resources.api_objects import NO_CLUSTER_YET
from mlops_infra.testing.platform import FakePlatform, FakeWire
from mlops_infra.ui.console import Style
from mlops_infra.ui.doctor import diagnosis_text, explanation_text


def dead_containerd(sick: Platform, host: str) -> None:
    """What one stopped containerd on a master looks like everywhere."""
    sick.facts[host][p.CONTAINERD] = STOPPED
    sick.facts[host][p.KUBELET] = RESTARTING
    sick.facts[host][p.CONTAINERS] = UNKNOWN
    sick.of_kubelet(host, "healthz", "refused")
    sick.of_kubelet(host, "cri", "connection refused")
    sick.etcd_stops(host)
    sick.of_master(host, "own", "connect:errno=111")
    sick.drift(host, "unit:containerd.service", reason="not running")
    sick.facts["lb1"][p.BACKENDS] = type(sick.facts["lb1"][p.BACKENDS])(
        0, sick.facts["lb1"][p.BACKENDS].stdout.replace(f"api,{host},UP", f"api,{host},DOWN")
    )
    sick.api[p.NODES] = tuple(node(n, "Unknown" if n == host else "True") for n in ("m1", "m2", "m3", "w1", "w2"))
    sick.api[p.FLANNEL] = sick.api[p.KUBE_PROXY] = daemon(4)


def shown(sick: Platform) -> list[str]:
    return diagnosis_text(sick.diagnosis(), Style()).splitlines()


class TestFolding:
    def test_one_dead_containerd_is_one_finding(self, sick: Platform) -> None:
        dead_containerd(sick, "m2")
        assert (sick.only.check, sick.only.host) == ("cri.up", "m2")
        follows = {f.check for f in sick.only.follows}
        assert follows >= {"kubelet.up", "etcd.member", "etcd.quorum", "api.server", "lb.backends", "node.ready"}

    def test_a_workers_containerd_does_not_explain_an_api_that_the_balancer_does_not_reach(
        self, sick: Platform
    ) -> None:
        sick.facts["w1"][p.CONTAINERD] = STOPPED
        sick.facts["lb1"][p.HAPROXY] = STOPPED
        for host in ("m1", "m2", "m3", "w1", "w2"):
            sick.of_kubelet(host, "endpoint", "connect:errno=111")
        sick.outside = (Answered(Target("api", "lb1", "10.0.0.20", 6443), None, "refused"),)
        assert sick.said == [("lb.haproxy", "lb1"), ("cri.up", "w1")]
        assert [f.check for f in sick.findings[0].follows] == ["api.lb"]

    def test_what_all_workers_show_is_not_the_doing_of_one_of_them(self, sick: Platform) -> None:
        sick.lose("w1")
        sick.api[p.OBJECTS] = (ingress_service(http=31999),)
        rows = sick.facts["lb1"][p.BACKENDS].stdout.replace(",UP,L4OK", ",DOWN,L4CON")
        sick.facts["lb1"][p.BACKENDS] = CommandFact(0, rows)
        folded = {f.check: {follows.check for follows in f.follows} for f in sick.findings}
        assert folded == {"host.ssh": set(), "ingress.nodeports": {"lb.ingress"}}

    def test_two_dead_hosts_are_two_findings(self, sick: Platform) -> None:
        dead_containerd(sick, "m2")
        sick.lose("w1")
        assert {(f.check, f.host) for f in sick.findings} == {("cri.up", "m2"), ("host.ssh", "w1")}

    def test_a_lost_worker_takes_its_node_and_its_pods_along(self, sick: Platform) -> None:
        sick.lose("w1")
        sick.api[p.NODES] = tuple(node(n, "Unknown" if n == "w1" else "True") for n in ("m1", "m2", "m3", "w1", "w2"))
        sick.api[p.FLANNEL] = sick.api[p.KUBE_PROXY] = sick.api[p.METALLB_SPEAKER] = daemon(4)
        assert (sick.only.check, sick.only.host) == ("host.ssh", "w1")
        assert {f.check for f in sick.only.follows} == {
            "node.ready",
            "cni.flannel",
            "svc.kubeproxy",
            "metallb.speaker",
        }

    def test_a_part_that_is_not_ready_is_told_by_its_own_check_and_not_as_drift(self, sick: Platform) -> None:
        sick.api[p.ingress(sick.cluster)] = deployment(0)
        sick.drift(API, "ready:NGINX ingress controller", "nodes:ready")
        assert sick.said == [("ingress.up", "")]

    def test_a_deleted_part_takes_its_drift_along(self, sick: Platform) -> None:
        sick.api[p.METALLB_SPEAKER] = ABSENT
        sick.drift(API, "api:MetalLB")
        assert sick.only.check == "metallb.speaker"
        assert [f.check for f in sick.only.follows] == ["plan.drift"]

    @pytest.mark.parametrize(
        ("check", "made_by_hand"),
        [
            ("metallb.speaker", lambda s: s.api.update({p.METALLB_SPEAKER: ABSENT})),
            ("dns.cluster", lambda s: s.api.update({p.COREDNS: deployment(0, 0)})),
            ("ingress.nodeports", lambda s: s.api.update({p.OBJECTS: (ingress_service(http=31999),)})),
            (
                "ingress.proxyproto",
                lambda s: s.api.update({p.INGRESS_CONFIG: {"data": {"use-proxy-protocol": "true"}}}),
            ),
            ("node.orphan", lambda s: s.api.update({p.NODES: (*s.api[p.NODES], node("old"))})),
        ],
    )
    def test_what_somebody_did_in_the_cluster_is_told_beside_a_lost_host(
        self, sick: Platform, check: str, made_by_hand: Callable[[Platform], None]
    ) -> None:
        sick.lose("w1")
        made_by_hand(sick)
        assert set(sick.said) == {("host.ssh", "w1"), (check, "")}

    def test_flags_that_keep_a_server_down_are_its_cause_and_others_are_not(self, sick: Platform) -> None:
        sick.of_master("m2", "flag", *flags("m2", profiling="perhaps"))
        assert (sick.only.check, sick.only.severity) == ("cp.flags", Severity.WARNING)
        sick.of_master("m2", "own", "connect:errno=111")
        sick.api[p.NODES] = tuple(node(n, "Unknown" if n == "m2" else "True") for n in ("m1", "m2", "m3", "w1", "w2"))
        assert (sick.only.check, sick.only.severity) == ("cp.flags", Severity.ERROR)
        assert {f.check for f in sick.only.follows} == {"api.server", "node.ready"}
        sick.of_master("m1", "own", "connect:errno=111")
        assert set(sick.said) == {("cp.flags", ""), ("api.server", "m1")}

    def test_a_controller_that_does_not_come_up_with_its_flags_too(self, sick: Platform) -> None:
        lines = [line for line in flags("m2") if "scheduler" not in line]
        sick.of_master("m2", "flag", *lines, "kube-scheduler.yaml:- --leader-elect=perhaps")
        running = tuple(c for c in MASTER_PODS if "scheduler" not in c)
        sick.facts["m2"][p.CONTAINERS] = CommandFact(0, containers(*running))
        assert sick.only.check == "cp.flags"
        assert [f.check for f in sick.only.follows] == ["cp.controllers"]

    def test_a_balancer_that_does_not_speak_as_the_controller_does_is_one_finding(self, sick: Platform) -> None:
        sick.api[p.INGRESS_CONFIG] = {"data": {"use-proxy-protocol": "true"}}
        rows = sick.facts["lb1"][p.BACKENDS].stdout.replace(",UP,L4OK", ",DOWN,SOCKERR")
        sick.facts["lb1"][p.BACKENDS] = CommandFact(0, rows)
        assert sick.only.check == "ingress.proxyproto"
        assert [f.check for f in sick.only.follows] == ["lb.ingress"]

    def test_a_part_that_is_short_of_pods_follows_from_a_lost_host(self, sick: Platform) -> None:
        sick.lose("w1")
        sick.api[p.COREDNS] = deployment(1)
        assert sick.said == [("host.ssh", "w1")]

    def test_a_warning_is_never_the_cause_of_what_is_broken(self, sick: Platform) -> None:
        sick.say("m2", p.MACHINE, "disk", "/dev/sda 1000000 900000 100000 90% /")
        sick.facts["m2"][p.CONTAINERD] = STOPPED
        assert [(f.check, f.severity) for f in sick.findings] == [
            ("cri.up", Severity.ERROR),
            ("host.disk", Severity.WARNING),
        ]

    def test_a_full_disk_is(self, sick: Platform) -> None:
        sick.say("m2", p.MACHINE, "disk", "/dev/sda 1000000 1000000 0 100% /")
        dead_containerd(sick, "m2")
        assert (sick.only.check, sick.only.severity) == ("host.disk", Severity.CRITICAL)

    def test_nothing_is_lost_by_folding(self, sick: Platform) -> None:
        dead_containerd(sick, "m2")
        sick.lose("w1")
        sick.facts["lb1"][p.HAPROXY] = STOPPED
        count = 0
        for check in CHECKS:
            if check.advice:
                continue
            for host in ("",) if check.scope == "cluster" else [h.name for h in sick.cluster.all_hosts]:
                if host and (sick.cluster.role(host) not in check.roles):
                    continue
                if host and check.needs_answer and host not in sick.facts:
                    continue
                verdict = check.judge(sick.view, host)
                count += len(verdict) if isinstance(verdict, tuple) else type(verdict).__name__ == "Finding"
        assert sum(1 + len(f.follows) for f in sick.findings) == count


class TestOrder:
    def test_worst_first_and_a_cause_is_as_bad_as_what_follows(self, sick: Platform) -> None:
        sick.drift("w1", "packages:kubernetes")
        sick.facts["w2"][p.KUBELET] = STOPPED
        sick.facts["lb1"][p.HAPROXY] = STOPPED
        assert [f.check for f in sick.findings] == ["lb.haproxy", "kubelet.up", "host.packages"]

    def test_hosts_in_the_order_of_the_file(self, sick: Platform) -> None:
        for host in ("w2", "m3", "w1"):
            sick.facts[host][p.KUBELET] = STOPPED
        assert [f.host for f in sick.findings] == ["m3", "w1", "w2"]


class TestWhatIsGone:
    def test_objects_that_nobody_could_ask_for_are_no_drift(self, sick: Platform) -> None:
        sick.drift(API, "api:Roles", reason=NO_CLUSTER_YET)
        assert sick.findings == ()
        sick.drift(API, "api:Other")
        assert sick.only.finding.brief.startswith("the cluster: api:Other")

    def test_the_api(self, sick: Platform) -> None:
        sick.api_down()
        assert sick.findings == ()
        assert {s.check for s in sick.diagnosis().skipped} >= {"node.ready", "cni.flannel", "dns.cluster"}

    def test_a_majority_of_the_masters(self, sick: Platform) -> None:
        sick.api_down()
        for host in ("m2", "m3"):
            sick.lose(host)
        sick.of_master("m1", "members", "context deadline exceeded")
        found = sick.diagnosis()
        assert [(f.check, f.host) for f in found.findings[:2]] == [("host.ssh", "m2"), ("host.ssh", "m3")]
        assert found.exit_code is ExitCode.PARTLY
        assert "etcd.quorum" in {f.check for f in found.findings[0].follows}

    def test_every_host(self, sick: Platform) -> None:
        sick.api_down()
        for host in list(sick.facts):
            sick.lose(host)
        found = sick.diagnosis()
        assert {f.check for f in found.findings} == {"host.ssh"}
        assert found.exit_code is ExitCode.UNREACHABLE

    def test_the_cluster_before_the_first_up(self, sick: Platform) -> None:
        """Bare hosts: nothing answers any question of ours but df."""
        sick.api_down()
        for host, facts in sick.facts.items():
            machine = facts[p.MACHINE]
            facts.clear()
            facts[p.MACHINE] = machine
            facts.update(dict.fromkeys((p.KUBELET_CONF, p.HAPROXY_CONFIG, p.KUBELET, p.CONTAINERD, p.HAPROXY), ABSENT))
            sick.drift(host, "packages:base", "sysctls:x", "file:/etc/x")
        assert sick.only.check == "platform.built"
        assert sick.only.finding.remedy == "mlops-infra up"

    def test_all_but_ssh(self, sick: Platform) -> None:
        for facts in sick.facts.values():
            facts.clear()
        sick.api_down()
        sick.with_plan = False
        assert sick.findings == ()
        assert sick.diagnosis().skipped

    def test_the_plan(self, sick: Platform) -> None:
        sick.with_plan = False
        sick.facts["w1"][p.KUBELET] = STOPPED
        assert sick.only.check == "kubelet.up"
        assert "no key" in {s.reason for s in sick.diagnosis().skipped}


class TestWhatIsAsked:
    def test_only_an_area_and_what_is_behind_it(self, sick: Platform) -> None:
        dead_containerd(sick, "m2")
        sick.drift("w1", "packages:kubernetes")
        found = diagnose(CHECKS, sick.view, chosen_checks(["etcd,lb"]))
        assert [f.check for f in found.findings] == ["cri.up"]
        assert diagnose(CHECKS, sick.view, chosen_checks(["dns"])).findings == ()

    @pytest.mark.parametrize(
        ("words", "meant"), [(["etcd.quorum"], 1), (["etcd"], 12), (["etc"], 12), (["lb, dns"], 11)]
    )
    def test_only_takes_areas_checks_and_beginnings(self, words: list[str], meant: int) -> None:
        chosen = chosen_checks(words)
        assert chosen is not None and len(chosen) == meant

    def test_only_of_nothing_is_wrong_usage(self) -> None:
        with pytest.raises(UsageError, match="there is no such check"):
            chosen_checks(["etcd,moon"])

    def test_a_limit_leaves_out_what_is_about_others(self, sick: Platform) -> None:
        sick.lose("w1")
        sick.facts["w2"][p.KUBELET] = STOPPED
        sick.limit = ("w2",)
        assert sick.said == [("kubelet.up", "w2")]

    def test_one_channel_a_host_and_one_read_of_the_api(self) -> None:
        cluster = cluster_of()
        names = [h.name for h in cluster.all_hosts]
        fake = FakePlatform(*names)
        fake.serving = {"m1", "m2", "m3"}
        fake.hosts["m1"].files["/etc/kubernetes/admin.conf"] = b""
        fake.api = {p.NODES: ()}
        masters = tuple(Master(m.name, m.node_address) for m in cluster.hosts.masters)
        settings = Settings("c", masters, Path("/nonexistent"))
        phases = (Phase("look", "Look", tuple(Step("look", n) for n in names)),)
        with Engine(fake, fake.targets(), phases, settings, wire=FakeWire(fake)) as engine:
            seen = engine.observe(questions_of(cluster, CHECKS))
            assert engine.channels == len(names)
        assert fake.channels == dict.fromkeys(names, 1)
        assert seen.api_host in {"m1", "m2", "m3"}

    def test_hosts_are_asked_only_what_their_role_can_answer(self) -> None:
        cluster = cluster_of()
        asked = questions_of(cluster, CHECKS)
        assert p.BALANCER in asked["lb1"] and p.BALANCER not in asked["m1"]
        assert p.KUBELET in asked["w1"] and p.KUBELET not in asked["lb1"]
        assert p.control_plane(cluster.host_named("m1")) in asked["m1"]
        assert not any("control-plane" in repr(q) for q in asked["w1"])
        assert p.NODES in asked[API]

    def test_a_platform_behind_a_bastion_is_not_asked_from_outside(self) -> None:
        jump = {"user": "u", "bastion": {"address": "192.0.2.1"}}
        assert targets(cluster_of(ssh=jump)) == ()
        assert [t.host for t in targets(cluster_of())] == ["lb1"]

    def test_an_endpoint_where_nobody_listens_is_told_in_words(self) -> None:
        answered = ask(Target("api", "", "127.0.0.1", 1))
        assert answered.status is None and answered.problem == "Connection refused"


class TestScripts:
    @pytest.mark.parametrize("shell", ["dash", "bash"])
    def test_every_script_is_sh(self, shell: str) -> None:
        cluster = cluster_of()
        for text in (
            scripts.machine(),
            scripts.kubelet(cluster),
            scripts.certificates(),
            scripts.control_plane(cluster.hosts.masters[0]),
            scripts.balancer(),
            scripts.CONTAINERS,
        ):
            done = subprocess.run([shell, "-n"], input=text.encode(), capture_output=True, check=False)
            assert done.returncode == 0, done.stderr

    def test_the_machines_own_script_tells_its_disks(self) -> None:
        done = subprocess.run(["sh"], input=scripts.machine().encode(), capture_output=True, check=False)
        keys = {line.split("\t")[0] for line in done.stdout.decode().splitlines()}
        assert {"disk", "inodes"} <= keys

    def test_no_password_of_haproxy_is_told(self) -> None:
        assert "stats auth …" in scripts.balancer()


class TestRemedies:
    def test_plain_commands_stay_plain_and_shell_is_one_word(self) -> None:
        assert (
            on_host("w1", "systemctl start kubelet") == "mlops-infra hosts exec --limit w1 -- systemctl start kubelet"
        )
        assert on_host("w1", "a && b") == "mlops-infra hosts exec --limit w1 -- 'a && b'"
        assert kubectl("m1", "get nodes").endswith("kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes")


class TestShown:
    def test_the_first_lines_are_the_cause_its_evidence_and_the_command(self, sick: Platform) -> None:
        dead_containerd(sick, "m2")
        shown = diagnosis_text(sick.diagnosis(), Style())
        assert shown.startswith(
            "1. error m2: containerd is stopped  cri.up\n     systemctl: inactive (dead), enabled\n"
        )
        assert "do:  mlops-infra hosts exec --limit m2 -- systemctl start containerd" in shown
        assert "more (-v shows them)" in shown

    def test_a_healthy_platform_says_so(self, sick: Platform) -> None:
        assert "healthy: no finding" in diagnosis_text(sick.diagnosis(), Style())

    def test_advice_stands_in_a_column_and_a_long_remedy_below_it(self, sick: Platform) -> None:
        sick.local = Local(backups=(), lone_key="/x/key")
        lines = diagnosis_text(sick.diagnosis(), Style()).splitlines()
        at = lines.index("  backup.none       there is no backup yet  → mlops-infra backup etcd")
        assert lines[at + 1].startswith("  backup.key        one key opens the backups")
        assert lines[at + 2].startswith(" " * 20 + "→ mlops-infra backup key export")
        assert max(map(len, lines)) <= 120

    def test_evidence_that_the_first_line_says_already_is_not_repeated(self, sick: Platform) -> None:
        full = "/dev/sdb 2000000 2000000 0 100% /var"
        sick.say("w1", p.MACHINE, "disk", "/dev/sda 1000000 1000000 0 100% /")
        assert sum("0% of space free" in line for line in shown(sick)) == 1
        sick.say("w1", p.MACHINE, "disk", "/dev/sda 1000000 1000000 0 100% /", full)
        assert sum("0% of space free" in line for line in shown(sick)) == 2

    def test_the_shape_holds_findings_first_and_what_follows_below_them(self, sick: Platform) -> None:
        dead_containerd(sick, "m2")
        shape = diagnosis_shape(sick.diagnosis())
        assert shape["exit_code"] == 2
        assert shape["findings"][0]["check"] == "cri.up"
        assert {f["check"] for f in shape["findings"][0]["follows"]} >= {"node.ready"}
        assert {a["check"] for a in shape["advice"]} == {"backup.local", "lb.single", "exposure.metrics"}

    def test_explain_knows_every_check_and_refuses_others(self) -> None:
        for check in CHECKS:
            assert check.explanation in explanation_text(explained(check.id), CHECKS, Style())
        with pytest.raises(UsageError, match=r"etcd\.moon"):
            explained("etcd.moon")


class TestCatalogue:
    def test_ids_are_unique_and_causes_stand_before_what_follows(self) -> None:
        assert len(named(CHECKS)) == len(CHECKS) > 40

    def test_every_check_asks_a_question_and_says_why(self) -> None:
        for check in CHECKS:
            assert check.title.endswith("?"), check.id
            assert check.explanation.endswith("."), check.id
            assert "." in check.id
