"""What is there now, judged from facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_infra.app.status import (
    BACKENDS,
    ETCD_MANIFEST,
    HAPROXY,
    NODES,
    Backend,
    status_of,
    status_questions,
)
from mlops_infra.core import ABSENT, API, CommandFact, Facts, HostProblem, StatFact, UnitFact
from mlops_infra.doctor.probes import parse_backends
from mlops_infra.engine.observation import Observation
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.monitoring import Monitoring
from mlops_infra.model.site import Site
from mlops_infra.ui.console import Style
from mlops_infra.ui.report import status_text

STAT = """# pxname,svname,qcur,status,weight,
api,FRONTEND,,OPEN,,
api,m1,0,UP,1,
api,m2,0,DOWN 1/2,1,
api,BACKEND,0,UP,2,
"""


@pytest.fixture
def cluster() -> Cluster:
    return Cluster.model_validate(
        {
            "name": "c",
            "ssh": {"user": "u"},
            "hosts": {
                "lb": [{"name": "lb1", "address": "10.0.0.20"}],
                "masters": [{"name": f"m{i}", "address": f"10.0.0.{i}"} for i in (1, 2, 3)],
                "workers": [{"name": "w1", "address": "10.0.0.11"}],
            },
        }
    )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "cluster.yaml")


def node(name: str, ready: str) -> dict[str, object]:
    return {
        "metadata": {"name": name},
        "status": {
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
            "nodeInfo": {"kubeletVersion": "v1.31.4"},
        },
    }


def seen(*nodes: dict[str, object]) -> Observation:
    facts = {
        "lb1": Facts(
            {HAPROXY: UnitFact("loaded", "active", "running", "enabled", False), BACKENDS: CommandFact(0, STAT)}
        ),
        "m1": Facts({ETCD_MANIFEST: StatFact("file", 0o600, "root", "root", 9)}),
        "m2": Facts({ETCD_MANIFEST: ABSENT}),
    }
    silent = HostProblem("m3", "does not answer", unreachable=True)
    return Observation(facts, Facts({NODES: nodes}), "m1", (silent,))


def test_ready_not_ready_missing_and_orphaned_nodes_are_told_apart(cluster: Cluster, site: Site) -> None:
    status = status_of(cluster, seen(node("m1", "True"), node("m2", "Unknown"), node("old", "True")), site)
    assert [(n.name, n.there, n.ready) for n in status.nodes] == [
        ("m1", True, True),
        ("m2", True, False),
        ("m3", False, False),
        ("w1", False, False),
    ]
    assert status.orphans == ("old",)


def test_without_an_api_nothing_is_claimed_about_nodes(cluster: Cluster, site: Site) -> None:
    status = status_of(cluster, Observation({}), site)
    assert {(n.there, n.ready) for n in status.nodes} == {(None, None)}
    assert status.orphans == ()
    assert status.lb[0].haproxy == "unknown"
    assert [m.member for m in status.etcd] == [None, None, None]


def test_members_of_etcd_and_backends_are_read_from_their_hosts(cluster: Cluster, site: Site) -> None:
    status = status_of(cluster, seen(), site)
    assert [(m.name, m.member) for m in status.etcd] == [("m1", True), ("m2", False), ("m3", None)]
    assert status.lb[0].haproxy == "active"
    assert status.lb[0].backends == (Backend("api", "m1", "UP"), Backend("api", "m2", "DOWN"))


@pytest.mark.parametrize("text", ["", "Unknown command\n", "pxname,svname\n"])
def test_an_answer_that_is_no_table_gives_no_backends(text: str) -> None:
    assert parse_backends(text) == ()


def test_the_password_of_the_statistics_is_never_shown_only_its_place(cluster: Cluster, site: Site) -> None:
    site.secrets.mkdir(parents=True)
    (site.secrets / "lb-stats").write_text("hunter2hunter2\n")
    shown = status_text(status_of(cluster, seen(), site), Style())
    assert f"password in {site.secrets / 'lb-stats'}" in shown
    assert "hunter2" not in shown


def test_where_grafana_is_and_who_tells_its_password(cluster: Cluster, site: Site) -> None:
    shown = status_text(status_of(cluster, seen(), site), Style())
    assert "grafana    http://10.0.0.11:30300  user and password: `mlops-infra monitoring password`" in shown
    assert "prometheus http://10.0.0.11:30900" in shown
    without = cluster.model_copy(update={"monitoring": Monitoring(enabled=False)})
    assert ":30300" not in status_text(status_of(without, seen(), site), Style())


def test_the_report_names_who_is_down_and_what_is_an_orphan(cluster: Cluster, site: Site) -> None:
    shown = status_text(status_of(cluster, seen(node("m1", "True"), node("old", "True")), site), Style())
    assert "api 1/2 (down: m2)" in shown
    assert "orphan: old is a node but not in cluster.yaml" in shown
    assert "problem: m3: does not answer" in shown
    assert "https://api.c.internal:6443 at 10.0.0.20" in shown


def test_a_part_shows_only_its_own(cluster: Cluster, site: Site) -> None:
    status = status_of(cluster, seen(node("m1", "True")), site)
    masters = status_text(status, Style(), ("nodes", "etcd"), ("master",))
    assert "m1" in masters and "w1" not in masters and "BALANCER" not in masters
    assert "NODE" not in status_text(status, Style(), ("lb",))


def test_the_questions_are_few_and_for_those_who_can_answer(cluster: Cluster) -> None:
    asked = status_questions(cluster)
    assert set(asked) == {"lb1", "m1", "m2", "m3", API}
    assert sum(map(len, asked.values())) == 9
