"""Storage, metrics and monitoring on real hosts: everything is measured, alerts arrive, and what was kept is kept.

The tests of this module are chapters: each takes the platform as the one before left it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from platform_lab import PlatformLab, wait_for
from ruamel.yaml import YAML
from webhook import ADDRESS, PORT, Webhook

from mlops_infra.app.smoke_full import ml_documents
from mlops_infra.phases.boards import DASHBOARDS
from mlops_infra.render import to_yaml

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800), pytest.mark.long]

SETTINGS = {
    "storage": {"class": "local-path"},
    "metrics": {"enabled": True},
    "monitoring": {
        "enabled": True,
        # Expressions are the ones that ship; only waiting times are short.
        "alert_delay": 0.05,
        "prometheus": {"scrape_interval": "10s"},
        "receivers": [
            {
                "name": "hook",
                "severities": ["critical", "warning", "info"],
                "webhook": {"url": f"http://{ADDRESS}:{PORT}/alerts"},
            },
            {"name": "dead-man", "watchdog": True, "webhook": {"url": f"http://{ADDRESS}:{PORT}/watchdog"}},
        ],
    },
}
BOARDS = [
    (board.name, graph.title, query) for board in DASHBOARDS for graph in board.graphs for query, _ in graph.lines
]
SERVICE = "measured"
"""Namespace and host of the ML service of the examples."""
CRASHES = """
apiVersion: v1
kind: Pod
metadata: {name: crashes}
spec:
  containers:
    - {name: crashes, image: docker.io/library/busybox:1.36.1, command: ["/bin/sh", "-c", "exit 1"]}
"""
KEEPS = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: keeps}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: keeps}
spec:
  containers:
    - name: keeps
      image: docker.io/library/busybox:1.36.1
      command: ["/bin/sh", "-c", "echo kept >/data/word; while :; do cat /data/word >/dev/null; read x </dev/tty; done"]
      volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: keeps}}]
"""


def changed(lab: PlatformLab, **more: Any) -> None:
    """Rewrites cluster.yaml with the settings of this module, and `more` of `monitoring`."""
    yaml = YAML()
    document = yaml.load(lab.config.read_text())
    settings = {**SETTINGS, "monitoring": {**SETTINGS["monitoring"], **more}}  # type: ignore[dict-item]
    document.update(settings)
    with lab.config.open("w") as out:
        yaml.dump(document, out)


def apply(lab: PlatformLab, manifest: str) -> None:
    lab.on("master-1", f"kubectl --kubeconfig /etc/kubernetes/admin.conf apply -f - <<'EOF'\n{manifest}\nEOF")


def asked(lab: PlatformLab, query: str) -> list[dict[str, Any]]:
    """An instant query, put to Prometheus' node port by a client in the lab's network."""
    url = f"http://10.110.190.25:30900/api/v1/query?query={quote(query, safe='')}"
    answer = json.loads(lab("lab", "curl", "--", "-sf", "-m", "10", url))
    assert answer["status"] == "success"
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def predicted(lab: PlatformLab) -> None:
    """One prediction of the ML service, through the load balancer and the ingress."""
    body = '{"temperature": 3.0, "hour": 8, "working_day": true}'
    words = ("-s", "-m", "5", "-o", "/dev/null", "-H", f"Host: {SERVICE}.example.test", "-d", body)
    lab.run("lab", "curl", "--", *words, "http://10.110.190.21/predict")


def number(lab: PlatformLab, query: str) -> float:
    found = asked(lab, query)
    return float(found[0]["value"][1]) if found else 0.0


def state(lab: PlatformLab) -> dict[str, Any]:
    done = lab.run("--lab", "--json", "monitoring", "status")
    assert done.returncode in (0, 2), done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def watched(platform: PlatformLab) -> Iterator[PlatformLab]:
    """The platform with everything switched on; as it was afterwards."""
    before = platform.config.read_text()
    changed(platform)
    platform.up()
    yield platform
    platform.config.write_text(before)


@pytest.fixture(scope="module")
def hook(watched: PlatformLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    kept: Path = tmp_path_factory.mktemp("hook") / "alerts"
    served = Webhook.start(kept, watched.environment)
    yield served
    served.stop()


@pytest.fixture(scope="class")
def served(watched: PlatformLab) -> Iterator[PlatformLab]:
    """With the ML service of the examples, which is annotated for Prometheus as a user's own would be."""
    host = f"{SERVICE}.example.test"
    made = ml_documents(SERVICE, host, ingress_class="nginx", has_pools=False, asked_for={})
    watched.kubectl(f"create namespace {SERVICE}")
    try:
        apply(watched, "---\n".join(map(to_yaml, made)))
        watched.kubectl(f"-n {SERVICE} rollout status deployment/ml-service --timeout=180s")
        yield watched
    finally:
        watched.kubectl(f"delete namespace {SERVICE} --wait=false")


class TestWhatUpBuilt:
    def test_a_second_up_changes_nothing(self, watched: PlatformLab) -> None:
        assert watched.up()["plan"]["empty"]

    def test_every_target_answers(self, watched: PlatformLab) -> None:
        wait_for(lambda: bool(state(watched)["well"]), 180, 3)
        targets = {t["job"]: t["up"] for t in state(watched)["targets"]}
        assert targets["node-exporter"] == 7, "the load balancer is a host, too"
        assert (targets["etcd"], targets["apiserver"], targets["kubelet"], targets["haproxy"]) == (3, 3, 6, 1)
        assert targets.keys() >= {"coredns", "ingress", "metallb", "kube-proxy", "kube-scheduler", "cadvisor"}

    def test_prometheus_keeps_its_samples_on_a_volume(self, watched: PlatformLab) -> None:
        (claim,) = [c for c in watched.json("storage", "status")["claims"] if c["namespace"] == "monitoring"]
        assert (claim["phase"], claim["class"]) == ("Bound", "local-path")
        assert claim["node"].startswith("worker-")

    def test_top_knows_every_node(self, watched: PlatformLab) -> None:
        wait_for(lambda: watched.on("master-1", _TOP, check=False).count("\n") == 6, 120, 3)
        assert "insecure" not in watched.kubectl("-n kube-system get deployment metrics-server -o yaml")

    @pytest.mark.parametrize(
        ("service", "port"), [("prometheus-server", 9090), ("grafana", 3000), ("alertmanager", 9093)]
    )
    def test_each_has_an_address_that_admits_the_hosts_network(
        self, watched: PlatformLab, service: str, port: int
    ) -> None:
        made = json.loads(watched.kubectl(f"-n monitoring get service {service}-lb -o json"))
        assert made["spec"]["loadBalancerSourceRanges"] == ["10.110.190.0/24"]
        address = made["status"]["loadBalancer"]["ingress"][0]["ip"]
        path = "/api/health" if service == "grafana" else "/-/ready"
        wait_for(
            lambda: (
                watched.run("lab", "curl", "--", "-sf", "-m", "3", f"http://{address}:{port}{path}").returncode == 0
            ),
            60,
            2,
        )

    def test_every_query_of_every_dashboard_returns_data_through_grafana(self, served: PlatformLab) -> None:
        served.run("--lab", "backup", "etcd")
        password = served.json("monitoring", "password")["password"]
        url = "http://10.110.190.26:30300/api/datasources/proxy/uid/prometheus/api/v1/query"
        missing = dict.fromkeys(BOARDS)

        def none_is_missing() -> bool:
            # The controller forgets what it counted for an Ingress that is gone, as that of the smoke test is.
            predicted(served)
            for one in list(missing):
                words = ("-sf", "-m", "10", "-u", f"admin:{password}", "--data-urlencode", f"query={one[2]}", url)
                if json.loads(served("lab", "curl", "--", *words))["data"]["result"]:
                    missing.pop(one)
            return not missing

        end = time.monotonic() + 300
        while not none_is_missing():
            assert time.monotonic() < end, f"no data for {list(missing)}"
            time.sleep(5)

    def test_the_dashboard_applications_tells_what_the_ml_service_does(self, served: PlatformLab) -> None:
        def shown(title: str) -> float:
            """NaN where the graph has no line of it: none of these queries makes one up."""
            (query,) = (q for board, graph, q in BOARDS if (board, graph) == ("applications", title))
            ours = {"namespace": SERVICE, "app": "ml-service"}
            return next((float(s["value"][1]) for s in asked(served, query) if s["metric"] == ours), math.nan)

        def is_shown() -> bool:
            predicted(served)
            return shown("Throughput") > 0 and shown("95 % answered within") > 0 and shown("Errors") == 0

        wait_for(is_shown, 180, 3)
        assert shown("Pods scraped") == 2

    def test_a_pod_keeps_what_it_wrote_when_it_is_made_anew(self, watched: PlatformLab) -> None:
        apply(watched, KEEPS)
        watched.kubectl("wait --for=condition=Ready pod/keeps --timeout=90s")
        watched.kubectl("delete pod keeps --wait")
        apply(watched, KEEPS.replace("echo kept >/data/word; ", ""))
        watched.kubectl("wait --for=condition=Ready pod/keeps --timeout=90s")
        assert watched.kubectl("exec keeps -- cat /data/word").strip() == "kept"
        watched.kubectl("delete pod/keeps pvc/keeps --wait=false")


_TOP = "kubectl --kubeconfig /etc/kubernetes/admin.conf top nodes --no-headers 2>/dev/null"


class TestAlertsArrive:
    def test_a_test_alert_is_delivered_and_the_command_knows(self, watched: PlatformLab, hook: Webhook) -> None:
        done = watched.json("monitoring", "alerts", "test")
        assert done["ok"] and not done["left"]
        assert hook.has("TestAlert")

    def test_the_watchdog_comes_to_those_who_asked_for_it(self, watched: PlatformLab, hook: Webhook) -> None:
        wait_for(lambda: hook.has("Watchdog", path="/watchdog"), 400, 3)
        assert not hook.has("Watchdog")

    def test_a_pod_that_crashes_again_and_again(self, watched: PlatformLab, hook: Webhook) -> None:
        apply(watched, CRASHES)
        hook.wait("KubePodCrashLooping", 300, pod="crashes")
        watched.kubectl("delete pod crashes --wait=false")

    def test_a_target_that_is_silent(self, watched: PlatformLab, hook: Webhook) -> None:
        watched.on("lb-1", "systemctl stop prometheus-node-exporter")
        try:
            hook.wait("HostDown", 180, node="lb-1")
            hook.wait("TargetDown", 180, job="node-exporter")
        finally:
            watched.on("lb-1", "systemctl start prometheus-node-exporter")

    def test_a_disk_that_is_full(self, watched: PlatformLab, hook: Webhook) -> None:
        watched("lab", "fail", "disk-full", "worker-3")
        try:
            hook.wait("NodeFilesystemAlmostOutOfSpace", 240, node="worker-3", severity="critical")
        finally:
            watched("lab", "heal", "worker-3")

    def test_a_backup_that_is_too_old(self, watched: PlatformLab, hook: Webhook) -> None:
        changed(watched, backup_max_age="1s")
        watched.up()
        hook.wait("BackupTooOld", 300)
        changed(watched)
        watched.up()

    def test_a_node_without_power(self, watched: PlatformLab, hook: Webhook) -> None:
        home = json.loads(watched.kubectl("-n monitoring get pods -l app.kubernetes.io/name=prometheus -o json"))
        busy = {item["spec"]["nodeName"] for item in home["items"]}
        victim = next(name for name in ("worker-1", "worker-2", "worker-3") if name not in busy)
        watched("lab", "fail", "power", victim)
        try:
            hook.wait("HostDown", 240, node=victim)
        finally:
            watched("lab", "heal", victim)
        wait_for(lambda: watched.nodes()[victim], 240, 2)


class TestWhatIsKept:
    def test_samples_outlive_prometheus_pod(self, watched: PlatformLab) -> None:
        before = number(watched, 'count_over_time(up{job="prometheus"}[1h])')
        watched.kubectl("-n monitoring delete pod -l app.kubernetes.io/name=prometheus --grace-period=0 --force")
        wait_for(lambda: watched.run("lab", "curl", "--", "-sf", "-m", "3", _READY).returncode == 0, 180, 2)
        assert before > 5
        assert number(watched, 'count_over_time(up{job="prometheus"}[1h])') >= before

    def test_switched_off_it_goes_and_the_platform_stays(self, watched: PlatformLab) -> None:
        changed(watched, enabled=False)
        watched.up()
        assert "monitoring" not in watched.kubectl("get namespaces -o name")
        assert watched.up()["plan"]["empty"]


_READY = "http://10.110.190.25:30900/-/ready"
