"""What the monitoring phase puts into the cluster and onto hosts."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.core import API, Facts, Secret
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.alertmanager import alertmanager_config
from mlops_infra.phases.boards import DASHBOARDS
from mlops_infra.phases.context import MonitoringInputs, PhaseContext
from mlops_infra.phases.grafana import provisioning
from mlops_infra.phases.host_exporters import TEXTFILES, balancer_exporter, master_exporter
from mlops_infra.phases.monitoring import monitoring_objects, monitoring_phase
from mlops_infra.phases.prometheus import prometheus_config
from mlops_infra.render import parse_documents

Make = Callable[..., Cluster]
Objects = dict[tuple[str, str], dict[str, Any]]
RECEIVERS = [
    {
        "name": "team",
        "email": {
            "to": ["a@example.com", "b@example.com"],
            "sender": "x@example.com",
            "smarthost": "mail:587",
            "user": "u",
            "password": {"env": "X"},
        },
        "slack": {"url": {"env": "X"}, "channel": "#ops"},
        "pagerduty": {"routing_key": {"env": "X"}},
    },
    {"name": "log", "severities": ["info"], "webhook": {"url": "http://10.0.0.9:9095/a"}},
    {"name": "dead-man", "watchdog": True, "webhook": {"url": "http://10.0.0.9:9096/b"}},
]
SECRETS = {
    "receiver-team-email": Secret('pass"word'),
    "receiver-team-slack": Secret("https://hooks.example/T/B/key"),
    "receiver-team-pagerduty": Secret("routing"),
    "receiver-log-webhook": Secret("http://10.0.0.9:9095/a"),
    "receiver-dead-man-webhook": Secret("http://10.0.0.9:9096/b"),
}


def by_name(cluster: Cluster, context: PhaseContext) -> Objects:
    return {(o["kind"], o["metadata"]["name"]): o for o in monitoring_objects(cluster, context)}


def pod_of(objects: Objects, name: str, kind: str = "Deployment") -> dict[str, Any]:
    found: dict[str, Any] = objects[kind, name]["spec"]["template"]
    return found


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"these tests need {name}: apt-get install prometheus prometheus-alertmanager"
    return found


def receivers_of(config: Path, **labels: str) -> str:
    words = [program("amtool"), "config", "routes", "test", f"--config.file={config}"]
    words += [f"{key}={value}" for key, value in labels.items()]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def test_services_have_the_names_and_ports_that_others_rely_on(cluster: Cluster, context: PhaseContext) -> None:
    objects = by_name(cluster, context)
    wanted = {
        "prometheus-server": ("prometheus", 9090, 30900),
        "grafana": ("grafana", 3000, 30300),
        "alertmanager": ("alertmanager", 9093, None),
    }
    for name, (selected, number, node_port) in wanted.items():
        for service in (objects["Service", name]["spec"], objects["Service", f"{name}-lb"]["spec"]):
            assert service["selector"] == {"app.kubernetes.io/name": selected}
            assert [p["port"] for p in service["ports"]] == [number]
        assert objects["Service", name]["spec"]["ports"][0].get("nodePort") == node_port
        assert objects["Service", f"{name}-lb"]["spec"]["type"] == "LoadBalancer"
        assert pod_of(objects, selected)["metadata"]["labels"]["app.kubernetes.io/name"] == selected


def test_every_object_of_a_namespace_lies_in_monitoring(cluster: Cluster, context: PhaseContext) -> None:
    whole = {"Namespace", "ClusterRole", "ClusterRoleBinding"}
    for manifest in monitoring_objects(cluster, context):
        inside = manifest["metadata"].get("namespace")
        assert inside == (None if manifest["kind"] in whole else "monitoring")


@pytest.mark.parametrize(
    ("parts", "let_in"),
    [
        ({}, ["10.0.0.0/16"]),
        ({"monitoring": {"allow_from": ["192.168.7.0/24"]}}, ["192.168.7.0/24"]),
        ({"network": {}}, [f"10.0.{x}/32" for x in ("0.1", "1.1", "1.2", "1.3", "2.1", "2.2", "2.3")]),
    ],
)
def test_addresses_admit_whom_cluster_yaml_lets_in(
    make: Make, context: PhaseContext, parts: dict[str, Any], let_in: list[str]
) -> None:
    objects = by_name(make(**parts), context)
    for name in ("prometheus-server-lb", "grafana-lb", "alertmanager-lb"):
        assert objects["Service", name]["spec"]["loadBalancerSourceRanges"] == let_in


def test_grafanas_password_is_in_a_secret_alone(cluster: Cluster, context: PhaseContext) -> None:
    objects = by_name(cluster, context)
    kept = objects["Secret", "grafana-admin"]["data"]
    assert base64.b64decode(kept["admin-password"]).decode() == "s3cret-word"
    rest = json.dumps([o for (kind, _), o in objects.items() if kind != "Secret"])
    assert "s3cret-word" not in rest
    assert kept["admin-password"] not in rest
    for step in monitoring_phase(cluster, context).steps:
        for change in filter(None, (r.diff(Facts()) for r in step.resources)):
            assert "s3cret-word" not in f"{change.diff} {change!r}"


def test_a_new_password_makes_grafana_anew_and_nothing_else(cluster: Cluster, context: PhaseContext) -> None:
    other = replace(context, monitoring=MonitoringInputs(Secret("another")))
    before, after = by_name(cluster, context), by_name(cluster, other)
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {("Secret", "grafana-admin"), ("Deployment", "grafana")}


def test_a_new_receiver_makes_alertmanager_anew_and_nothing_else(make: Make, context: PhaseContext) -> None:
    other = replace(context, monitoring=replace(context.monitoring, secrets=SECRETS))
    before = by_name(make(), context)
    after = by_name(make(monitoring={"receivers": RECEIVERS}), other)
    assert {k for k in before if before[k] != after[k]} == {("Secret", "alertmanager"), ("Deployment", "alertmanager")}


def test_prometheus_keeps_less_than_its_volume_holds(make: Make, context: PhaseContext) -> None:
    objects = by_name(make(monitoring={"prometheus": {"volume": "5Gi", "retention": "3d"}}), context)
    args = pod_of(objects, "prometheus")["spec"]["containers"][0]["args"]
    assert "--storage.tsdb.retention.size=4096MB" in args
    assert "--storage.tsdb.retention.time=3d" in args
    claim = objects["PersistentVolumeClaim", "prometheus"]["spec"]
    assert claim["resources"]["requests"]["storage"] == "5Gi"
    assert claim["storageClassName"] == "local-path"


def test_without_a_class_of_volumes_prometheus_claims_none(make: Make, context: PhaseContext) -> None:
    objects = by_name(make(storage={"class": "none"}), context)
    assert ("PersistentVolumeClaim", "prometheus") not in objects
    volumes = pod_of(objects, "prometheus")["spec"]["volumes"]
    assert {"name": "data", "emptyDir": {"sizeLimit": "10Gi"}} in volumes


def test_one_worker_has_one_alertmanager_without_a_mesh(make: Make, context: PhaseContext) -> None:
    hosts = {"masters": [{"name": "m", "address": "10.0.1.1"}], "workers": [{"name": "w", "address": "10.0.2.1"}]}
    spec = by_name(make(hosts=hosts), context)["Deployment", "alertmanager"]["spec"]
    assert spec["replicas"] == 1
    assert "--cluster.listen-address=" in spec["template"]["spec"]["containers"][0]["args"]


def test_switched_off_it_only_takes_away_what_was_there(make: Make, context: PhaseContext) -> None:
    (step,) = monitoring_phase(make(monitoring={"enabled": False}), context).steps
    assert step.host == API
    assert [r.diff(Facts()) for r in step.resources] == [None]


def test_every_image_names_its_registry(cluster: Cluster, context: PhaseContext) -> None:
    for (kind, _), manifest in by_name(cluster, context).items():
        if kind in {"Deployment", "DaemonSet"}:
            for one in manifest["spec"]["template"]["spec"]["containers"]:
                assert one["image"].split("/")[0] in {"quay.io", "registry.k8s.io", "docker.io"}
                assert set(one["resources"]["requests"]) == {"cpu", "memory"}


def test_small_workers_have_room_for_what_is_asked_for(cluster: Cluster, context: PhaseContext) -> None:
    asked = [
        (one["resources"]["requests"], manifest["spec"].get("replicas", len(cluster.hosts.workers)))
        for (kind, _), manifest in by_name(cluster, context).items()
        if kind in {"Deployment", "DaemonSet"}
        for one in manifest["spec"]["template"]["spec"]["containers"]
    ]
    assert sum(int(r["memory"].removesuffix("Mi")) * n for r, n in asked) < 1024
    assert sum(int(r["cpu"].removesuffix("m")) * n for r, n in asked) < 500


def test_prometheus_configuration_is_one_for_prometheus(tmp_path: Path, cluster: Cluster) -> None:
    (config,) = parse_documents(prometheus_config(cluster))
    jobs = [job["job_name"] for job in config["scrape_configs"]]
    assert len(jobs) == len(set(jobs)) == 18
    # This promtool may have been built without the discovery of Kubernetes: another one stands in for it.
    for job in (*config["scrape_configs"], *config["alerting"]["alertmanagers"]):
        if job.pop("kubernetes_sd_configs", None):
            job["dns_sd_configs"] = [{"names": ["a.example"]}]
    file = tmp_path / "prometheus.yml"
    file.write_text(json.dumps(config))
    words = [program("promtool"), "check", "config", "--syntax-only", str(file)]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_what_is_hidden_or_not_there_is_not_scraped(make: Make) -> None:
    def jobs(**parts: Any) -> set[str]:
        (config,) = parse_documents(prometheus_config(make(**parts)))
        return {job["job_name"] for job in config["scrape_configs"]}

    hidden = jobs() - jobs(security={"expose_metrics": False})
    assert hidden == {"etcd", "kube-scheduler", "kube-controller-manager", "kube-proxy"}
    assert jobs() - jobs(ingress={"controller": "none"}) == {"ingress"}
    assert jobs() - jobs(metallb={"enabled": False}) == {"metallb"}


def test_load_balancers_are_measured_too(cluster: Cluster) -> None:
    (config,) = parse_documents(prometheus_config(cluster))
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert jobs["node-exporter"]["static_configs"] == [{"targets": ["10.0.0.1:9100"], "labels": {"node": "lb-1"}}]
    assert jobs["haproxy"]["static_configs"] == [{"targets": ["10.0.0.1:8404"], "labels": {"node": "lb-1"}}]
    assert any(r.id == "packages:node-exporter" for r in balancer_exporter(cluster))


def test_masters_tell_where_node_exporter_reads(cluster: Cluster, context: PhaseContext, make: Make) -> None:
    args = pod_of(by_name(cluster, context), "node-exporter", "DaemonSet")["spec"]["containers"][0]["args"]
    assert f"--collector.textfile.directory=/host{TEXTFILES}" in args
    script = next(r for r in master_exporter(cluster) if r.id.endswith("mlops-infra-certificates"))
    change = script.diff(Facts())
    assert change is not None
    assert TEXTFILES in change.diff + repr(change.actions) + str(getattr(script, "content", ""))
    off = make(monitoring={"enabled": False})
    assert all(r.id.startswith("missing:") for r in (*master_exporter(off), *balancer_exporter(off)))


def test_alerts_go_to_those_who_asked_for_them(tmp_path: Path, make: Make) -> None:
    file = tmp_path / "alertmanager.yml"
    file.write_text(alertmanager_config(make(monitoring={"receivers": RECEIVERS}), SECRETS))
    said = subprocess.run([program("amtool"), "check-config", str(file)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    assert receivers_of(file, alertname="HostDown", severity="critical") == "team"
    assert receivers_of(file, alertname="X", severity="info") == "log"
    assert receivers_of(file, alertname="TestAlert", severity="test") == "test of team,test of log"
    assert receivers_of(file, alertname="Watchdog", severity="none") == "dead-man,nobody"
    (config,) = parse_documents(file.read_text())
    team = next(r for r in config["receivers"] if r["name"] == "team")
    twin = next(r for r in config["receivers"] if r["name"] == "test of team")
    assert {**twin, "name": "team"} == team, "a test takes the same way"
    assert [mail["to"] for mail in team["email_configs"]] == ["a@example.com", "b@example.com"]
    assert team["email_configs"][0]["auth_password"] == 'pass"word'
    assert team["slack_configs"][0]["api_url"].endswith("/key")


def test_alertmanagers_secrets_are_in_a_secret_alone(make: Make, context: PhaseContext) -> None:
    given = replace(context, monitoring=replace(context.monitoring, secrets=SECRETS))
    objects = by_name(make(monitoring={"receivers": RECEIVERS}), given)
    text = base64.b64decode(objects["Secret", "alertmanager"]["data"]["alertmanager.yml"]).decode()
    assert "hooks.example" in text
    assert "hooks.example" not in json.dumps([o for (kind, _), o in objects.items() if kind != "Secret"])


def test_provisioning_is_what_grafana_documents() -> None:
    """https://grafana.com/docs/grafana/latest/administration/provisioning/: keys, and what they may hold."""
    (sources,) = parse_documents(provisioning()["datasources.yaml"])
    assert sources["apiVersion"] == 1
    for source in sources["datasources"]:
        known = {"name", "type", "access", "orgId", "uid", "url", "user", "database", "basicAuth", "isDefault"}
        assert set(source) <= known | {"jsonData", "secureJsonData", "version", "editable", "withCredentials"}
        assert source["access"] in {"proxy", "direct"}
        assert source["type"] == "prometheus"
    (boards,) = parse_documents(provisioning()["dashboards.yaml"])
    assert boards["apiVersion"] == 1
    for provider in boards["providers"]:
        known = {"name", "orgId", "folder", "folderUid", "type", "disableDeletion", "updateIntervalSeconds"}
        assert set(provider) <= known | {"allowUiUpdates", "options"}
        assert provider["type"] == "file"
        assert set(provider["options"]) <= {"path", "foldersFromFilesStructure"}


def test_dashboards_are_found_and_ask_the_provisioned_source(cluster: Cluster, context: PhaseContext) -> None:
    objects = by_name(cluster, context)
    (sources,) = parse_documents(provisioning()["datasources.yaml"])
    files = objects["ConfigMap", "grafana-dashboards"]["data"]
    assert set(files) == {f"{board.name}.json" for board in DASHBOARDS}
    for text in files.values():
        board = json.loads(text)
        assert board["panels"]
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        for panel in board["panels"]:
            assert panel["datasource"] == {"type": "prometheus", "uid": sources["datasources"][0]["uid"]}
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
            assert all(target["expr"] for target in panel["targets"])
    (boards,) = parse_documents(provisioning()["dashboards.yaml"])
    mounts = pod_of(objects, "grafana")["spec"]["containers"][0]["volumeMounts"]
    path = boards["providers"][0]["options"]["path"]
    assert {"name": "dashboards", "mountPath": path} in mounts


def test_own_dashboards_stand_beside_ours(cluster: Cluster, context: PhaseContext) -> None:
    given = replace(context, monitoring=replace(context.monitoring, dashboards={"shop.json": "{}"}))
    assert by_name(cluster, given)["ConfigMap", "grafana-dashboards"]["data"]["own-shop.json"] == "{}"
