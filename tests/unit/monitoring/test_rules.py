"""The shipped alerts under Prometheus' own promtool: every one fires when it should, and not when it should not."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from alert_cases import CASES, RECORDED, Case

from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.alert_rules import alert_rules, with_delay
from mlops_infra.phases.boards import DASHBOARDS
from mlops_infra.render import parse_documents, plain_templates

SHIPPED = plain_templates("monitoring/rules", ".yaml")
ALWAYS_FIRES = "Watchdog"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program, "these tests need Prometheus' promtool: apt-get install prometheus"
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture
def cluster() -> Cluster:
    hosts = {
        "lb": [{"name": "lb-1", "address": "10.0.0.1"}],
        "masters": [{"name": "m1", "address": "10.0.1.1"}],
        "workers": [{"name": "w1", "address": "10.0.2.1"}],
    }
    monitoring = {"enabled": True}
    return Cluster.model_validate({"name": "site", "ssh": {"user": "o"}, "hosts": hosts, "monitoring": monitoring})


@pytest.fixture
def rule_files(tmp_path: Path, cluster: Cluster) -> list[Path]:
    """All of them, as Prometheus gets them."""
    files = []
    for name, text in alert_rules(cluster, {}).items():
        files.append(tmp_path / name)
        files[-1].write_text(text)
    return files


def alerts(*names: str) -> list[dict[str, Any]]:
    """Of these files, or of all."""
    texts = [SHIPPED[name] for name in names or SHIPPED]
    groups = [group for text in texts for document in parse_documents(text) for group in document["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def as_test(case: Case, series: dict[str, str], expected: int) -> dict[str, Any]:
    chosen = {"alertname": case.alert, "alertstate": "firing", "severity": case.severity}
    alone = bool(case.window and expected)
    if not alone:
        chosen["window"] = case.window
    firing = "ALERTS{" + ",".join(f'{name}="{value}"' for name, value in chosen.items() if value) + "}"
    said = "is quiet" if not expected else "fires alone" if alone else "fires"
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f"count by (window) ({firing})" if alone else f"clamp_max(count({firing}) or vector(0), 1)",
                "eval_time": case.at,
                "exp_samples": [{"labels": f'{{window="{case.window}"}}' if alone else "{}", "value": expected}],
            }
        ],
        "name": f"{case.alert} {case.severity} {case.window} {said}",
    }


def test_every_file_of_rules_is_one_for_prometheus(rule_files: list[Path]) -> None:
    said = promtool("check", "rules", *rule_files)
    assert said.returncode == 0, said.stdout + said.stderr
    # One of settings, and of the two for ingress controllers only that of the one there is.
    assert said.stdout.count("SUCCESS") == len(rule_files) == len(SHIPPED) + 1 - 1


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_alert_fires_when_it_should_and_not_when_it_should_not(tmp_path: Path, name: str) -> None:
    here = {rule["alert"] for rule in alerts(name)}
    cases = [case for case in CASES if case.alert in here]
    tests = [as_test(c, dict(series), wanted) for c in cases for series, wanted in ((c.fires, 1), (c.quiet, 0))]
    if ALWAYS_FIRES in here:
        tests.append(as_test(Case(ALWAYS_FIRES, {}, {}), {"anything": "1x60"}, 1))
    (tmp_path / "rules.yaml").write_text(SHIPPED[name])
    file = tmp_path / "tests.yaml"
    # JSON is YAML.
    file.write_text(json.dumps({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}))
    said = promtool("test", "rules", file)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_no_rule_is_without_a_case(name: str) -> None:
    rules: dict[str, list[tuple[str, str]]] = {}
    for rule in alerts(name):
        rules.setdefault(rule["alert"], []).append((rule["labels"]["severity"], rule["labels"].get("window", "")))
    assert rules.keys() - {case.alert for case in CASES} <= {ALWAYS_FIRES}
    for alert, ours in rules.items():
        tried = {(case.severity, case.window) for case in CASES if case.alert == alert}
        assert len(ours) == 1 or (len(set(ours)) == len(ours) and set(ours) == tried), alert


def test_every_recording_rule_records_what_it_should(tmp_path: Path, rule_files: list[Path]) -> None:
    texts = [path.read_text() for path in rule_files]
    rules = [rule for text in texts for d in parse_documents(text) for g in d["groups"] for rule in g["rules"]]
    records = [rule for rule in rules if "record" in rule]
    assert sorted(rule["record"] for rule in records) == sorted(name for one in RECORDED for name in one.expected)
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in one.series.items()],
            "promql_expr_test": [
                {
                    "expr": f"round({name}, 0.001)",
                    "eval_time": one.at,
                    "exp_samples": [{"labels": labels, "value": value} for labels, value in values.items()],
                }
                for name, values in one.expected.items()
            ],
        }
        for one in RECORDED
    ]
    # Without the alerts, which would be asked for every minute of a day as well.
    (tmp_path / "records.yaml").write_text(json.dumps({"groups": [{"name": "records", "rules": records}]}))
    file = tmp_path / "tests.yaml"
    file.write_text(json.dumps({"rule_files": ["records.yaml"], "evaluation_interval": "1m", "tests": tests}))
    said = promtool("test", "rules", file)
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in alerts():
        said = rule["annotations"]
        assert set(said) == {"summary", "description", "runbook"}, rule["alert"]
        assert all(len(text) > 10 for text in said.values()), rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning", "info", "none", "test"}


def test_only_waiting_times_are_shortened(cluster: Cluster) -> None:
    for text in SHIPPED.values():
        short = with_delay(text, 0.01)
        kept = [line for line in text.splitlines() if " for: " not in line]
        assert [line for line in short.splitlines() if " for: " not in line] == kept
        assert with_delay(text, 1) == text
    assert "for: 9s" in with_delay(SHIPPED["platform"], 0.03)
    assert "for: 1s" in with_delay(SHIPPED["platform"], 0.0001)


def test_alerts_of_parts_that_are_not_there_are_left_out(cluster: Cluster) -> None:
    hidden = cluster.security.model_copy(update={"expose_metrics": False})
    bare = cluster.model_copy(
        update={
            "security": hidden,
            "metallb": cluster.metallb.model_copy(update={"enabled": False}),
            "ingress": cluster.ingress.model_copy(update={"controller": "none"}),
            "hosts": cluster.hosts.model_copy(update={"lb": ()}),
        }
    )
    left_out = set(alert_rules(cluster, {})) - set(alert_rules(bare, {}))
    assert left_out == {"etcd.yaml", "exposed.yaml", "haproxy.yaml", "ingress.yaml", "metallb.yaml"}


def test_the_alerts_of_the_ingress_are_those_of_the_chosen_controller(cluster: Cluster) -> None:
    chosen = cluster.model_copy(update={"ingress": cluster.ingress.model_copy(update={"controller": "traefik"})})
    files = set(alert_rules(cluster, {})) ^ set(alert_rules(chosen, {}))
    assert files == {"ingress.yaml", "ingress-traefik.yaml"} and "ingress-traefik.yaml" in alert_rules(chosen, {})


def test_the_users_own_rules_stand_beside_ours_as_they_are(cluster: Cluster) -> None:
    own = "groups: []\n"
    assert alert_rules(cluster, {"nodes.yaml": own})["own-nodes.yaml"] == own
    assert alert_rules(cluster, {"nodes.yaml": own})["nodes.yaml"] != own


def test_the_age_that_backups_may_have_is_a_series(cluster: Cluster) -> None:
    assert "vector(129600)" in alert_rules(cluster, {})["settings.yaml"]


def test_every_query_of_every_dashboard_is_one_for_prometheus(tmp_path: Path) -> None:
    queries = [query for board in DASHBOARDS for graph in board.graphs for query, _ in graph.lines]
    assert len(queries) > 60
    rules = [{"record": f"board:query:{index}".replace("-", "_"), "expr": q} for index, q in enumerate(queries)]
    file = tmp_path / "boards.yaml"
    file.write_text(json.dumps({"groups": [{"name": "boards", "rules": rules}]}))
    said = promtool("check", "rules", file)
    assert said.returncode == 0, said.stdout + said.stderr
