"""`smoke --full`: what is deployed, what is asked, and what the answers mean."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.app import smoke as smoke_module
from mlops_infra.app import smoke_full as full_module
from mlops_infra.app.context import open_site
from mlops_infra.app.smoke import run_smoke
from mlops_infra.app.smoke_checks import Probe, Result
from mlops_infra.app.smoke_full import ml_documents
from mlops_infra.app.smoke_full_checks import (
    FAMILIES,
    check_alerts,
    check_metrics,
    check_predictions,
    check_scraped,
    check_service_starts,
    check_targets,
    check_top,
    check_volume,
    golden_of,
    parse_said,
)
from mlops_infra.app.smoke_probe import ask, families_at, prediction_at
from mlops_infra.render.examples import example_file
from mlops_infra.testing import FakeTransport
from mlops_infra.transport.session import Reply

GOLDEN = golden_of(example_file("ml-service/app/golden.json"))
HOME = Path(__file__).resolve().parents[3] / "examples" / "ml-service"


def said(kind: str, text: object, rc: int = 0) -> str:
    content = text if isinstance(text, str) else json.dumps(text)
    return f"= {kind} {rc} {base64.b64encode(content.encode()).decode()}\n"


def query(*values: tuple[dict[str, str], str]) -> dict[str, Any]:
    return {"status": "success", "data": {"result": [{"metric": m, "value": [0, v]} for m, v in values]}}


def answers(place: str, off: float = 0.0) -> list[Probe]:
    texts = [json.dumps({"power_kw": case.output + off}) for case in GOLDEN.cases]
    return [Probe(f"{place}:{n}", "here", True, 0.1, text) for n, text in enumerate(texts)]


# --- what is deployed -----------------------------------------------------------------------------------------------


def test_the_example_is_deployed_as_it_is_with_a_number_of_pods_and_its_name(tmp_path: Path) -> None:
    made = ml_documents("ns", "x.invalid", ingress_class="nginx", has_pools=True, asked_for={"pool": "ours"})
    by_kind = {d["kind"]: d for d in made if d["metadata"]["name"] != "ml-service-lb"}
    assert {d["metadata"]["namespace"] for d in made} == {"ns"}
    assert by_kind["Deployment"]["spec"]["replicas"] == 2
    assert by_kind["Ingress"]["spec"]["rules"][0]["host"] == "x.invalid"
    assert by_kind["ConfigMap"]["data"]["service.py"] == (HOME / "app/service.py").read_text()
    assert "HorizontalPodAutoscaler" not in by_kind
    (balancer,) = [d for d in made if d["metadata"]["name"] == "ml-service-lb"]
    assert balancer["metadata"]["annotations"] == {"pool": "ours"}


def test_what_the_platform_does_not_have_is_not_deployed() -> None:
    made = ml_documents("ns", "x.invalid", ingress_class=None, has_pools=False, asked_for={})
    assert [d["kind"] for d in made] == ["ConfigMap", "Deployment", "Service", "PodDisruptionBudget"]


# --- what answers mean ----------------------------------------------------------------------------------------------


def test_predictions_within_tolerance_are_well_and_others_are_named_with_what_was_wanted() -> None:
    probes = answers("ml-ingress", GOLDEN.tolerance / 2) + answers("ml-lb", 0.01)
    ingress, lb = check_predictions(probes, GOLDEN, {"ml-ingress", "ml-lb"})
    assert ingress.result is Result.OK
    assert lb.result is Result.FAILED
    assert str(GOLDEN.cases[0].output) in lb.details


def test_a_place_that_is_not_there_is_skipped_and_one_that_nobody_asked_is_a_failure() -> None:
    ingress, lb = check_predictions([], GOLDEN, {"ml-ingress"})
    assert (ingress.result, lb.result) == (Result.FAILED, Result.SKIPPED)
    garbage = [Probe("ml-ingress:0", "here", True, 0.1, "<html>")]
    assert "no prediction in <html>" in check_predictions(garbage, GOLDEN, {"ml-ingress"})[0].details


def test_metrics_lack_a_family() -> None:
    whole = Probe("ml-lb:metrics", "here", True, 0.1, " ".join(FAMILIES))
    part = Probe("ml-lb:metrics", "here", True, 0.1, FAMILIES[0])
    assert check_metrics([whole]).result is Result.OK
    assert "http_request_duration_seconds" in check_metrics([part]).details
    assert check_metrics([]).result is Result.SKIPPED


def test_pods_that_do_not_start_come_with_their_events() -> None:
    waiting = check_service_starts(parse_said("= ready 1\n= event ml-service-x Failed: no such image\n"), 2)
    assert waiting.result is Result.FAILED
    assert "no such image" in waiting.details
    assert check_service_starts(parse_said("= ready 2\n"), 2).is_ok
    assert "forbidden" in check_service_starts(parse_said("= refused forbidden\n"), 2).details


def test_a_volume_is_read_elsewhere_on_the_same_node_or_not_at_all() -> None:
    told = "= class {}\n= volume-writer Succeeded w1\n= volume-reader Succeeded {}\n= read t0ken\n"
    assert "moved from w1 to w2" in check_volume(parse_said(told.format("nfs", "w2"))).details
    assert "again on w1" in check_volume(parse_said(told.format("local-path", "w1"))).details
    assert check_volume(parse_said("= class none\n")).result is Result.SKIPPED
    stuck = check_volume(parse_said("= class nfs\n= volume-writer Pending \n= event smoke-volume no provisioner\n"))
    assert stuck.result is Result.FAILED
    assert "the writer's pod: Pending" in stuck.details
    assert "no provisioner" in stuck.details
    lost = check_volume(parse_said("= class nfs\n= volume-writer Succeeded w1\n= volume-reader Failed w2\n"))
    assert "the reader's pod: Failed" in lost.details


def test_without_monitoring_everything_about_it_is_skipped_with_the_setting_that_brings_it() -> None:
    checks = [check_top({}), check_scraped({}, asked=True), check_targets({}), check_alerts({})]
    assert {c.result for c in checks} == {Result.SKIPPED}
    assert all("enabled" in c.details for c in checks)
    lost = check_targets({"lost": ["timed out"]})
    assert "timed out" in lost.details


def test_a_platform_that_watches_itself_is_well() -> None:
    told = parse_said(
        said("top", "m1 100m 5%\nw1 80m 4%")
        + said("scraped", query(({}, "12")))
        + said("down", query())
        + said("up", query(({}, "31")))
        + said("alerts", [{"labels": {"alertname": "Watchdog"}}])
    )
    checks = [check_top(told), check_scraped(told, asked=True), check_targets(told), check_alerts(told)]
    assert {c.result for c in checks} == {Result.OK}, checks
    assert "31 targets" in checks[2].details


@pytest.mark.parametrize(
    ("text", "check", "word"),
    [
        (said("top", "error: metrics not available yet", 1), check_top, "not available"),
        (said("down", query(({"job": "etcd", "instance": "m1:2381"}, "0"))) + said("up", query(({}, "3"))),
         check_targets, "etcd m1:2381"),
        (said("down", "connection refused", 1), check_targets, "refused"),
        (said("down", query()) + said("up", query()), check_targets, ""),
        (said("alerts", []), check_alerts, ""),
        (said("alerts", "not json"), check_alerts, "not json"),
        (said("scraped", query()), lambda told: check_scraped(told, asked=True), ""),
    ],
)  # fmt: skip
def test_what_is_there_and_does_not_work_is_a_failure(text: str, check: Callable[[Any], Any], word: str) -> None:
    found = check(parse_said(text))
    assert found.result is Result.FAILED
    assert word in found.details
    assert found.remedy


# --- asking, over a real socket -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = subprocess.Popen(
        [sys.executable, "-B", "-u", HOME / "app/service.py"], env={**os.environ, "PORT": "0", "GRACE": "0"},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    yield int(server.stdout.readline().split('"port": ')[1].split("}")[0])
    server.terminate()
    server.wait(10)
    server.stdout.close()


def test_the_service_that_is_shipped_is_judged_well_from_this_machine(port: int) -> None:
    probes = [
        ask(f"ml-lb:{n}", prediction_at("127.0.0.1", port, "x", case.asked), 5) for n, case in enumerate(GOLDEN.cases)
    ]
    assert check_predictions(probes, GOLDEN, {"ml-lb"})[1].result is Result.OK
    assert check_metrics([ask("ml-lb:metrics", families_at("127.0.0.1", port, "x", FAMILIES), 5)]).is_ok


def test_an_answer_that_is_an_error_is_told_with_its_code(port: int) -> None:
    probe = ask("ml-lb:0", prediction_at("127.0.0.1", port, "x", {"hour": 1}), 0)
    assert not probe.ok
    assert "400" in probe.text


def test_a_host_outside_asks_the_same_with_nothing_but_bash(port: int) -> None:
    from mlops_infra.app.smoke_checks import parse_probes

    ground = type("G", (), {"token": "t", "patience": 3})()
    asked: list[str] = []

    def say(name: str, script: str, deadline: float) -> str:
        asked.append(name)
        return subprocess.run(
            ["bash", "-s"], input=script, capture_output=True, text=True, check=True, timeout=30
        ).stdout

    ground.say = say
    place = full_module.Place("ml-ingress", "127.0.0.1", port, "ml.invalid")
    probes = full_module._asked(ground, [place], GOLDEN, "lb-1")
    assert asked == ["lb-1"]
    assert check_predictions(probes, GOLDEN, {"ml-ingress"})[0].result is Result.OK, probes
    assert check_metrics(probes).is_ok
    assert parse_probes("", "x") == ()


# --- the whole --------------------------------------------------------------------------------------------------------

CLUSTER = """
name: demo
ssh: {user: ops}
hosts:
  masters: [{name: m1, address: 10.0.0.1}]
  workers: [{name: w1, address: 10.0.0.4}, {name: w2, address: 10.0.0.5}]
"""
READY = "= class nginx\n= pool p\n= pod smoke-1 w1 10.244.1.2 True\n= pod smoke-2 w2 10.244.2.2 True\n"
READY += "= service 10.96.7.7 31000\n= lb 10.0.0.100\n"


def test_the_full_half_runs_in_the_namespace_of_the_quick_one_and_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    monkeypatch.setattr(smoke_module, "can_reach", lambda *_: True)
    monkeypatch.setattr(smoke_module, "ask", lambda id, question, patience: Probe(id, "here", True, 0.1))
    places = [full_module.Place("ml-lb", "127.0.0.1", port, "x")]
    monkeypatch.setattr(full_module, "_places", lambda *_: places)
    scripts: list[str] = []

    def answer(command: str, stdin: bytes) -> Reply:
        script = stdin.decode()
        scripts.append(script)
        if "deployment ml-service" in script:
            return Reply(0, b"= ready 2\n= lb 10.0.0.101\n", "")
        if "smoke-volume" in script:
            return Reply(0, b"= class none\n", "")
        if "top nodes" in script:
            return Reply(0, b"", "")
        if "get --raw /readyz" in script:
            return Reply(0, READY.encode(), "")
        return Reply(0, b"", "")

    config = tmp_path / "cluster.yaml"
    config.write_text(CLUSTER)
    told: list[str] = []
    done = run_smoke(open_site(config), FakeTransport(default=answer), told.append, full=True)
    found = {c.id: c.result for c in done.checks}
    assert found["ml-start"] is found["ml-lb"] is found["ml-metrics"] is Result.OK
    assert found["volume"] is found["targets"] is found["watchdog"] is Result.SKIPPED
    deploys = [s for s in scripts if "deployment ml-service" in s]
    assert done.namespace in deploys[0]
    assert "delete namespace" in scripts[-1]
    assert "the ML service of the examples, and a volume" in told
