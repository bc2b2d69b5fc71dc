"""What the commands for storage and monitoring make of the answers of a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.app import alert_test
from mlops_infra.app.alert_test import counted, run_alert_test
from mlops_infra.app.context import open_site
from mlops_infra.app.inputs import phase_context
from mlops_infra.app.monitoring import CLAIMS, DAEMON_SETS, DEPLOYMENTS, SERVICES, grafana_password, state_of
from mlops_infra.app.prometheus import ask_script, prometheus_path, read_answers, samples
from mlops_infra.app.storage import CLAIMS as ALL_CLAIMS
from mlops_infra.app.storage import CLASSES, VOLUMES
from mlops_infra.app.storage import state_of as storage_state
from mlops_infra.core import Facts
from mlops_infra.errors import ConfigError, ExitCode
from mlops_infra.model.cluster import Cluster
from mlops_infra.transport import Reply
from mlops_infra.ui.console import Style
from mlops_infra.ui.monitoring import alert_test_shape, alert_test_text, state_shape, state_text
from mlops_infra.ui.storage import state_text as storage_text

PLAIN = Style()
FILE = """\
name: site
ssh: {user: ops}
hosts:
  masters: [{name: m-1, address: 10.0.0.11}]
  workers: [{name: w-1, address: 10.0.0.21}]
monitoring:
  enabled: true
  receivers:
    - {name: team, webhook: {url: "http://10.0.0.9:1/a"}, slack: {url: {file: slack}}}
    - {name: dead-man, watchdog: true, webhook: {url: "http://10.0.0.9:1/b"}}
  rules: [own.yaml]
  dashboards: [own.json]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "slack").write_text("https://hooks.example/key\n")
    (tmp_path / "own.yaml").write_text("groups: []\n")
    (tmp_path / "own.json").write_text('{"title": "own"}')
    path = tmp_path / "cluster.yaml"
    path.write_text(FILE)
    return path


def vector(*lines: Mapping[str, str], value: str = "1") -> dict[str, Any]:
    return {"status": "success", "data": {"result": [{"metric": dict(one), "value": [0, value]} for one in lines]}}


def workload(name: str, wanted: int, available: int) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "monitoring"},
        "spec": {"replicas": wanted},
        "status": {"availableReplicas": available},
    }


def answered(available: int = 2) -> Facts:
    balanced = {
        "metadata": {"name": "grafana-lb", "namespace": "monitoring"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 3000, "nodePort": 31000}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.100"}]}},
    }
    other = {**balanced, "metadata": {"name": "shop", "namespace": "default"}}
    node_port = {
        "metadata": {"name": "grafana", "namespace": "monitoring"},
        "spec": {"type": "NodePort", "ports": [{"port": 3000, "nodePort": 30300}]},
    }
    claim = {
        "metadata": {"name": "prometheus", "namespace": "monitoring"},
        "spec": {"storageClassName": "local-path", "resources": {"requests": {"storage": "10Gi"}}},
        "status": {"phase": "Bound"},
    }
    return Facts(
        {
            SERVICES: [balanced, other, node_port],
            DEPLOYMENTS: [workload("alertmanager", 2, available)],
            DAEMON_SETS: [],
            CLAIMS: [claim],
        }
    )


UP = vector({"job": "etcd", "node": "m-1"})
DOWN = {"job": "kubelet", "node": "w-1"}
QUIET = vector()


def test_the_status_tells_of_parts_targets_and_addresses(make: Callable[..., Cluster]) -> None:
    state = state_of(make(), answered(), (UP, QUIET, QUIET))
    assert state.is_well
    text = state_text(state, PLAIN)
    assert "http://10.0.0.100:3000" in text
    assert "http://10.0.2.1:30300" in text
    assert "31000" not in text
    assert "10Gi of local-path, Bound" in text
    assert "no alert fires" in text
    assert state_shape(state)["targets"] == [{"job": "etcd", "up": 1, "down": []}]


def test_a_missing_pod_a_silent_target_and_an_alert_are_named(make: Callable[..., Cluster]) -> None:
    down = vector(DOWN, value="0")
    firing = vector({"alertname": "KubeletDown", "severity": "critical", "node": "w-1", "job": "kubelet"})
    state = state_of(make(), answered(available=1), (down, firing, QUIET))
    assert not state.is_well
    text = state_text(state, PLAIN)
    assert "1 of 2" in text
    assert "KubeletDown" in text
    assert "node w-1" in text
    assert state_shape(state)["targets"] == [{"job": "kubelet", "up": 0, "down": ["w-1"]}]


def test_a_silent_prometheus_is_not_taken_for_a_platform_without_targets(make: Callable[..., Cluster]) -> None:
    state = state_of(make(), answered(), (None, None, None))
    assert "Prometheus does not answer" in state_text(state, PLAIN)
    assert state_shape(state)["targets"] is None
    assert not state.is_well


def test_answers_are_read_one_by_one_and_a_missing_one_is_missing() -> None:
    text = '@@@\n{"a": 1}\n\n@@@\n\n@@@\nError from server\n'
    assert read_answers(text, 4) == ({"a": 1}, None, None, None)
    assert samples(None) is None
    assert samples(vector()) == ()


def test_a_query_cannot_leave_its_place_in_the_address_or_the_shell() -> None:
    path = prometheus_path("up{job='a'} & rm")
    assert "'" not in path
    assert " " not in path
    assert "&" not in path
    assert "rm" in ask_script([path])


def test_claims_are_shown_with_the_node_that_they_are_bound_to() -> None:
    affinity = {"matchExpressions": [{"key": "kubernetes.io/hostname", "values": ["w-2"]}]}
    volume = {
        "metadata": {"name": "pv"},
        "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [affinity]}}},
        "status": {"phase": "Bound"},
    }
    claim = {
        "metadata": {"name": "data", "namespace": "shop"},
        "spec": {"volumeName": "pv", "storageClassName": "local-path", "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}},
    }
    local = {
        "metadata": {"name": "local-path", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "rancher.io/local-path",
    }
    facts = Facts({CLASSES: [local], ALL_CLAIMS: [claim], VOLUMES: [volume]})
    text = storage_text(storage_state(facts), PLAIN)
    assert "default" in text
    assert "w-2" in text
    empty = storage_text(storage_state(Facts({CLASSES: [], ALL_CLAIMS: [], VOLUMES: []})), PLAIN)
    assert "claims wait" in empty


def test_files_and_secrets_reach_the_phase(config: Path) -> None:
    given = phase_context(open_site(config)).monitoring
    assert given.rules == {"own.yaml": "groups: []\n"}
    assert given.dashboards == {"own.json": '{"title": "own"}'}
    assert given.secrets["receiver-team-slack"].reveal() == "https://hooks.example/key"
    assert set(given.secrets) == {"receiver-team-slack", "receiver-team-webhook", "receiver-dead-man-webhook"}


def test_the_clusters_own_copy_of_secrets_has_grafanas(config: Path) -> None:
    made = phase_context(open_site(config))
    kept = json.loads(made.copies["secrets.json"].reveal())
    assert kept["grafana-admin"] == made.monitoring.grafana_password.reveal()


@pytest.mark.parametrize(("name", "text"), [("own.json", "no JSON"), ("own.yaml", None), ("slack", "")])
def test_what_is_missing_or_no_dashboard_is_refused_by_name(config: Path, name: str, text: str | None) -> None:
    path = config.parent / name
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(ConfigError) as wrong:
        phase_context(open_site(config))
    assert name in wrong.value.brief


def test_the_password_is_the_one_that_up_made(config: Path) -> None:
    site = open_site(config)
    with pytest.raises(ConfigError):
        grafana_password(site)
    made = phase_context(site).monitoring.grafana_password
    assert grafana_password(site) == made
    assert len(made.reveal()) >= 32


# --- the test of alerts -----------------------------------------------------------------------------------------------


class FakeMasters:
    """A cluster by its answers: `after` is how many looks pass until each stage."""

    def __init__(self, *, fires: int = 1, told: int = 2, refused: bool = False) -> None:
        self.fires, self.told, self.refused = fires, told, refused
        self.looks = 0
        self.there = False
        self.said: list[str] = []

    def connect(self, target: object) -> FakeMasters:
        return self

    name = "m-1"

    def exchange(self, command: str, payload: bytes, *, deadline: float) -> Reply:
        script = payload.decode()
        self.said.append(script)
        text = ""
        if "create configmap" in script:
            self.there = True
        elif "delete configmap" in script:
            self.there = False
        elif "get pods" in script:
            text = self.counters()
        elif "api/v1/query" in script:
            self.looks += 1
            on = self.there and self.looks >= self.fires
            text = f"@@@\n{json.dumps(vector({'alertname': 'TestAlert'}) if on else vector())}\n"
            text += f"@@@\n{json.dumps([{}] if on else [])}\n"
        return Reply(0, text.encode(), "")

    def counters(self) -> str:
        done = self.there and self.looks >= self.told
        attempts, failed = (8 if done or self.refused else 7), (1 if self.refused and self.looks else 0)
        twin = 'receiver_name="test of team"'
        return "".join(
            f'alertmanager_notifications_total{{integration="{by}",{twin}}} {attempts}\n'
            # Other alerts are sent meanwhile.
            f'alertmanager_notifications_total{{integration="{by}",receiver_name="team"}} {self.looks}\n'
            f'alertmanager_notifications_failed_total{{integration="{by}",{twin},reason="x"}} {failed}\n'
            for by in ("slack", "webhook")
        )


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_test, "_PAUSE", 0.0)


def test_an_alert_that_arrives_is_told_step_by_step(config: Path) -> None:
    told: list[str] = []
    cluster = FakeMasters(fires=2, told=4)
    done = run_alert_test(open_site(config), cluster, told.append)  # type: ignore[arg-type]
    assert done.exit_code is ExitCode.DONE
    assert {(w.receiver, w.integration) for w in done.ways} == {("team", "slack"), ("team", "webhook")}
    assert any("the rule fires" in line for line in told)
    assert not cluster.there, "what was made is taken away"
    assert alert_test_shape(done)["ok"]


def test_a_receiver_that_refuses_is_named_with_the_reason(config: Path) -> None:
    cluster = FakeMasters(refused=True)
    done = run_alert_test(open_site(config), cluster, lambda _: None, patience=0.05)  # type: ignore[arg-type]
    assert done.exit_code is ExitCode.CHANGES
    text = alert_test_text(done, PLAIN)
    assert "refused" in text
    assert not cluster.there


def test_a_rule_that_never_fires_is_told_from_a_receiver_that_is_silent(config: Path) -> None:
    done = run_alert_test(open_site(config), FakeMasters(fires=9999), lambda _: None, patience=0.05)  # type: ignore[arg-type]
    assert "the rule never fired" in alert_test_text(done, PLAIN)


def test_what_was_made_goes_whatever_happens(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeMasters()

    def broken(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(alert_test, "_watch", broken)
    with pytest.raises(KeyboardInterrupt):
        run_alert_test(open_site(config), cluster, lambda _: None)  # type: ignore[arg-type]
    assert not cluster.there


def test_without_anybody_to_tell_nothing_is_begun(config: Path) -> None:
    config.write_text(FILE.replace("- {name: team, webhook", "- {name: team, watchdog: true, webhook"))
    cluster = FakeMasters()
    with pytest.raises(ConfigError):
        run_alert_test(open_site(config), cluster, lambda _: None)  # type: ignore[arg-type]
    assert not cluster.said


def test_counters_of_all_alertmanagers_are_added_up() -> None:
    page = 'alertmanager_notifications_total{integration="webhook",receiver_name="team"} 3\n'
    failed = 'alertmanager_notifications_failed_total{integration="webhook",receiver_name="team",reason="%s"} 1\n'
    assert counted(page + failed % "a" + failed % "b" + page) == {("team", "webhook"): (6.0, 2.0)}
