"""One life of a platform, on real hosts: up, up again, drift, a busy lock, a new worker, a dead master, a killed run.

The tests of this module are chapters: each takes the platform as the one before left it.
"""

from __future__ import annotations

import json
import re
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from platform_lab import HOSTS, PlatformLab, verbose_sshd, wait_for

# The first of them waits until the mirror is built: 16 minutes on a quick machine, twice that on slow ones.
pytestmark = [pytest.mark.lab, pytest.mark.timeout(3300)]

NODES = HOSTS[1:]
LB = "10.110.190.21"
SECRETS = {
    "a bootstrap token": re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"),
    "a private key": re.compile(r"PRIVATE KEY|client-key-data"),
    "a certificate key": re.compile(r"(?<!sha256:)\b[0-9a-f]{64}\b"),
}


def api_answers(lab: PlatformLab) -> bool:
    """Through HAProxy, as a client of the platform sees it."""
    done = lab.run("lab", "curl", "--", "-sk", "-m", "2", f"https://{LB}:6443/readyz")
    return done.stdout.strip() == "ok"


def all_text(directory: Path) -> str:
    return "\n".join(p.read_text(errors="replace") for p in directory.rglob("*") if p.is_file())


class TestFromBareHosts:
    def test_unknown_host_keys_are_refused(self, lab: PlatformLab) -> None:
        known = lab.state / "known_hosts"
        kept = known.read_text()
        known.write_text("".join(line for line in kept.splitlines(True) if not line.startswith("10.110.190.25 ")))
        try:
            answer = lab.run("--lab", "hosts", "ping", "--limit", "worker-1")
            assert answer.returncode == 4
            assert "hosts trust worker-1" in answer.stdout + answer.stderr
        finally:
            known.write_text(kept)

    def test_changed_host_keys_are_refused(self, lab: PlatformLab) -> None:
        known = lab.state / "known_hosts"
        kept = known.read_text()
        other = {w[1]: w[2] for w in (line.split() for line in kept.splitlines()) if w[0] == "10.110.190.26"}
        known.write_text(
            "".join(
                f"{w[0]} {w[1]} {other[w[1]]}\n" if w[0] == "10.110.190.25" else " ".join(w) + "\n"
                for w in (line.split() for line in kept.splitlines())
            )
        )
        try:
            answer = lab.run("--lab", "hosts", "ping", "--limit", "worker-1")
            assert answer.returncode == 4
            assert "another host key than the pinned one" in answer.stdout + answer.stderr
        finally:
            known.write_text(kept)

    def test_a_plan_of_bare_hosts_writes_nothing(self, lab: PlatformLab) -> None:
        plan = lab.json("plan", rc=2)
        changes = lab.changes(plan)
        assert ("master-1", "file:/etc/containerd/config.toml") in changes
        assert any("kubeadm" in id and host == "master-1" for host, id in changes)
        assert lab.on("master-1", "ls -d /etc/containerd /var/lib/mlops-infra /run/mlops-infra 2>/dev/null; :") == ""

    def test_up_builds_the_platform(self, lab: PlatformLab) -> None:
        before = {host: lab.sessions(host) for host in HOSTS}
        answer = lab.up()
        opened = {host: lab.sessions(host) - before[host] - 1 for host in HOSTS}  # less the one that counts
        assert sum(opened.values()) <= 60, opened
        assert not answer["plan"]["problems"]
        assert {n["name"]: n["ready"] for n in answer["status"]["nodes"]} == dict.fromkeys(NODES, True)
        wait_for(lambda: all(lab.nodes().values()))
        versions = lab.kubectl("get nodes -o jsonpath='{.items[*].status.nodeInfo.kubeletVersion}'")
        assert set(versions.split()) == {"v1.31.4"}
        runtimes = lab.kubectl("get nodes -o jsonpath='{.items[*].status.nodeInfo.containerRuntimeVersion}'")
        assert {r.removeprefix("containerd://").lstrip("v") for r in runtimes.split()} == {"1.7.27"}
        pki = "/etc/kubernetes/pki/etcd"
        members = lab.kubectl(
            "-n kube-system exec etcd-master-1 -- etcdctl member list"
            f" --cacert {pki}/ca.crt --cert {pki}/server.crt --key {pki}/server.key"
        )
        assert members.count("started") == 3
        assert api_answers(lab)

    def test_the_kubeconfig_is_private_and_points_at_the_load_balancer(self, lab: PlatformLab) -> None:
        path = lab.state / "kubeconfig"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert f"server: https://{LB}:6443" in path.read_text()

    def test_kubelets_serve_with_certificates_of_the_cluster(self, lab: PlatformLab) -> None:
        lab_pem = "/var/lib/kubelet/pki/kubelet-server-current.pem"
        wait_for(lambda: all(lab.on(n, f"test -e {lab_pem} && echo yes || :") == "yes\n" for n in NODES), 180, 5)
        issuer = lab.on("worker-1", f"openssl x509 -noout -issuer -in {lab_pem}")
        assert "kubernetes" in issuer

    def test_stats_answer_with_the_password_alone(self, lab: PlatformLab) -> None:
        def code(*words: str) -> str:
            return lab.run(
                "lab", "curl", "--", "-s", "-o", "/dev/null", "-w", "%{http_code}", *words, f"http://{LB}:8404/stats"
            ).stdout

        (password,) = [p.read_text().strip() for p in (lab.state / "secrets").glob("*stats*")]
        assert code() == "401"
        assert code("-u", f"admin:{password}") == "200"

    def test_no_secret_is_in_any_record(self, lab: PlatformLab) -> None:
        text = all_text(lab.state / "runs")
        kept = {p.name: p.read_text().strip() for p in (lab.state / "secrets").iterdir()}
        assert kept.keys() >= {"lb-stats", "grafana-admin"}
        assert not [name for name, secret in kept.items() if secret in text]
        for what, pattern in SECRETS.items():
            found = [m.group() for m in pattern.finditer(text)]
            if what == "a certificate key":  # the plan's digest and published checksums look alike
                plans = [json.loads(p.read_text()) for p in (lab.state / "runs").glob("*/plan.json")]
                public = {p.get("digest") for p in plans} | set(re.findall(r'"plan": "([0-9a-f]{64})"', text))
                found = [f for f in found if f not in public]
            assert not found, f"{what} in a record: {found[:3]}"


class TestNothingToDo:
    def test_the_second_up_is_one_exchange_a_host_and_changes_nothing(self, lab: PlatformLab) -> None:
        before = {host: lab.sessions(host) for host in HOSTS}
        answer = lab.up()
        opened = {host: lab.sessions(host) - before[host] - 1 for host in HOSTS}
        assert answer["plan"]["empty"] is True
        assert not [r for r in answer["results"] if r["changed"]]
        assert opened == dict.fromkeys(HOSTS, 1)

    def test_plan_agrees(self, lab: PlatformLab) -> None:
        assert lab.json("plan")["empty"] is True


class TestWhatIsWatched:
    """What is there by default; the chapters that follow have no monitoring, which is a fifth of the machine's work."""

    def test_every_host_is_and_kubectl_top_knows_the_nodes(self, lab: PlatformLab) -> None:
        seen: dict[str, Any] = {}

        def is_well() -> bool:
            done = lab.run("--lab", "--json", "monitoring", "status")
            seen.update(json.loads(done.stdout))
            return bool(seen.get("well"))

        wait_for(is_well, 180, 3)
        up = {target["job"]: target["up"] for target in seen["targets"]}
        assert (up["node-exporter"], up["kubelet"], up["etcd"], up["haproxy"]) == (7, 6, 3, 1)
        top = "kubectl --kubeconfig /etc/kubernetes/admin.conf top nodes --no-headers"
        wait_for(lambda: lab.on("master-1", top, check=False).count("\n") == 6, 60, 3)

    def test_switched_off_it_goes(self, lab: PlatformLab) -> None:
        on = lab.config.read_text()
        lab.watch(False)
        assert lab.config.read_text() != on
        lab.up()
        assert "monitoring" not in lab.kubectl("get namespaces -o name")
        assert lab.json("plan")["empty"] is True


class TestDrift:
    def test_drift_by_hand_is_shown_with_its_reason_and_mended(self, lab: PlatformLab) -> None:
        lab.on("lb-1", "echo '# by hand' >> /etc/haproxy/haproxy.cfg")
        lab.on("worker-1", "systemctl disable --now chrony")
        lab.on("worker-2", "sysctl -w net.ipv4.ip_local_reserved_ports=30000-30001")
        lab.on("worker-3", "apt-mark unhold kubelet")
        lab.kubectl(
            '-n kube-flannel patch configmap kube-flannel-cfg --type merge -p \'{"data":{"net-conf.json":"{}"}}\''
        )
        plan = lab.json("plan", rc=2)
        changes = lab.changes(plan)
        said = {host: (resource, reason) for (host, resource), reason in changes.items()}
        assert set(said) == {"lb-1", "worker-1", "worker-2", "worker-3", "@api"}, changes
        assert said["lb-1"][0] == "file:/etc/haproxy/haproxy.cfg"
        assert "content" in said["lb-1"][1]
        assert "chrony" in said["worker-1"][0]
        assert "sysctl" in said["worker-2"][0]
        assert "held" in said["worker-3"][1] or "hold" in said["worker-3"][1]
        diffs = {(s["host"]): c["diff"] for s in plan["steps"] for c in s["changes"]}
        assert "-# by hand" in diffs["lb-1"]
        assert "net-conf.json" in diffs["@api"]
        answer = lab.up()
        assert {r["host"] for r in answer["results"] if r["changed"]} == set(said)
        assert lab.json("plan")["empty"] is True
        assert lab.on("worker-1", "systemctl is-active chrony").strip() == "active"
        assert "kubelet" in lab.on("worker-3", "apt-mark showhold")

    def test_a_saved_plan_is_refused_when_the_world_has_moved(self, lab: PlatformLab) -> None:
        lab.on("worker-1", "rm /etc/crictl.yaml")
        saved = lab.config.parent / "plan.json"
        lab("--lab", "plan", "--out", str(saved), rc=2)
        lab.on("worker-2", "rm /etc/crictl.yaml")
        refused = lab.run("--lab", "up", str(saved))
        assert refused.returncode == 1
        assert "changed since" in refused.stdout + refused.stderr
        lab("--lab", "plan", "--out", str(saved), rc=2)
        lab("--lab", "up", str(saved))
        assert lab.json("plan")["empty"] is True


class TestTwoOperators:
    def test_the_second_up_says_who_holds_the_lock(self, lab: PlatformLab) -> None:
        for host in NODES:
            lab.on(host, "rm /etc/crictl.yaml")
        runs = set((lab.state / "runs").glob("*"))
        first = lab.start("--lab", "up", "--yes")
        try:
            wait_for(
                lambda: (
                    bool(set((lab.state / "runs").glob("*")) - runs)
                    and any(r["what"] == "locked" for r in lab.journal_of_newest_run())
                ),
                60,
                0.002,
            )
            first.send_signal(signal.SIGSTOP)
            second = lab.run("--lab", "up", "--yes")
            first.send_signal(signal.SIGCONT)
            said = second.stdout + second.stderr
            assert second.returncode == 1, said
            assert "root@" in said or "root" in said
            assert "since" in said
        finally:
            first.send_signal(signal.SIGCONT)
            first.communicate(timeout=300)
        assert first.returncode == 0
        assert lab.json("plan")["empty"] is True


class TestALargerPlatform:
    def test_a_worker_added_to_the_file_joins_and_nothing_else_changes(self, lab: PlatformLab) -> None:
        text = lab.config.read_text()
        (line,) = [x for x in text.splitlines() if "name: worker-3" in x]
        assert "10.110.190.27" in line, "the example names a worker on one line"
        added = line.replace("worker-3", "worker-4").replace("10.110.190.27", "10.110.190.28")
        lab.config.write_text(text.replace(line, f"{line}\n{added}"))
        lab("lab", "up")
        plan = lab.json("plan", rc=2)
        elsewhere = {key for key in lab.changes(plan) if key[0] != "worker-4"}
        assert {r for h, r in elsewhere if h == "lb-1"} <= {
            "file:/etc/haproxy/haproxy.cfg",
            "file:/var/lib/mlops-infra/cluster.yaml",
        }
        assert ("lb-1", "file:/etc/haproxy/haproxy.cfg") in elsewhere
        assert {r for h, r in elsewhere if h != "lb-1"} <= {"file:/var/lib/mlops-infra/cluster.yaml"}, elsewhere
        lab.up()
        wait_for(lambda: lab.nodes().get("worker-4") is True)
        assert lab.json("plan")["empty"] is True

    def test_a_worker_taken_out_of_the_file_is_an_orphan_and_stays(self, lab: PlatformLab) -> None:
        text = lab.config.read_text()
        lab.config.write_text("".join(line for line in text.splitlines(True) if "worker-4" not in line))
        answer = lab.up()
        assert any("worker-4" in note for note in answer["plan"]["notes"]) or "worker-4" in answer["status"]["orphans"]
        assert lab.nodes()["worker-4"] is True


class TestADeadMaster:
    def test_the_api_stays_and_up_goes_on_with_what_it_can(self, lab: PlatformLab) -> None:
        lab("lab", "fail", "power", "master-1")
        wait_for(lambda: api_answers(lab), 30)
        lab.on("worker-2", "rm /etc/crictl.yaml")
        answer = lab.up(rc=3)
        assert {r["host"] for r in answer["results"] if r["outcome"] == "unreachable"} >= {"master-1"}
        assert "runtime-endpoint" in lab.on("worker-2", "cat /etc/crictl.yaml")
        assert api_answers(lab)
        lab("lab", "heal", "master-1")
        own = "kubectl --kubeconfig /etc/kubernetes/admin.conf --server https://10.110.190.22:6443 get --raw /readyz"
        wait_for(lambda: lab.on("master-1", own, check=False) == "ok", 180, 2)
        wait_for(lambda: lab.nodes("master-2").get("master-1") is True, 180, 2)
        lab.up()
        assert lab.json("plan")["empty"] is True


class TestAKilledRun:
    """One installation, killed without warning at five different points, ends well when it is simply run again."""

    def test_up_killed_at_five_points_and_run_again_ends_well(self, lab: PlatformLab) -> None:
        lab("lab", "reset", "--yes")
        verbose_sshd(lab)

        def sent(journal: list[dict[str, Any]], host: str, resource: str) -> bool:
            return any(
                r["what"] == "batch_sent" and r["host"] == host and any(resource in x[0] for x in r["resources"])
                for r in journal
            )

        def begun(journal: list[dict[str, Any]], host: str) -> bool:
            return any(r["what"] == "operation_intent" and r["host"] == host for r in journal)

        points = {
            "while the lock is taken": lambda j: any(r["what"] == "locked" for r in j),
            "while packages install": lambda j: sent(j, "master-1", "package"),
            "during kubeadm init": lambda j: begun(j, "master-1"),
            "while the second master joins": lambda j: begun(j, "master-2"),
            "while the third master joins": lambda j: begun(j, "master-3"),
        }
        for when in points.values():
            lab.killed("up", when=when)
        answer = lab.up()
        assert {n["name"]: n["there"] for n in answer["status"]["nodes"]} == dict.fromkeys(NODES, True)
        wait_for(lambda: all(lab.nodes().values()) and len(lab.nodes()) == len(NODES))
        assert lab.json("plan")["empty"] is True
