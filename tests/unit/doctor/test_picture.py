"""The status's screen, from the same look as the doctor's."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from sick import ABSENT, NOW, STOPPED, Platform

from mlops_infra.app.metallb_state import POOLS, SERVICES, state_of
from mlops_infra.app.picture import Picture, addons_of, first_to_end, picture_shape
from mlops_infra.app.status import status_of
from mlops_infra.core import Facts
from mlops_infra.doctor import probes as p
from mlops_infra.model.site import Site
from mlops_infra.ui.console import Style
from mlops_infra.ui.status_screen import picture_text

SERVICE = {
    "metadata": {"namespace": "shop", "name": "web"},
    "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.100"}]}},
}
POOL = {"metadata": {"name": "default-pool"}, "spec": {"addresses": ["10.0.0.100-10.0.0.109"]}}


def picture(sick: Platform, tmp_path: Path, *, backup: bool = True) -> Picture:
    view = sick.view
    return Picture(
        NOW,
        status_of(sick.cluster, view.seen, Site(tmp_path / "cluster.yaml")),
        sick.diagnosis(),
        addons_of(sick.cluster, view.seen.api),
        state_of(view.seen.api),
        first_to_end(view.seen),
        NOW - timedelta(hours=5) if backup else None,
        "bundle.tar.age" if backup else "",
    )


def test_one_screen_holds_all_of_it(sick: Platform, tmp_path: Path) -> None:
    sick.api |= {SERVICES: (SERVICE,), POOLS: (POOL,)}
    shown = picture_text(picture(sick, tmp_path), Style())
    for text in (
        "https://api.c.internal:6443 at 10.0.0.20",
        "api 3/3",
        "Flannel 0.26.7 5/5",
        "CoreDNS 2/2",
        "default-pool 10.0.0.100-10.0.0.109 (1 of 10 used)",
        "shop/web  10.0.0.100  80",
        "in 300 days",
        "5 hours ago: bundle.tar.age",
        "healthy: no finding",
    ):
        assert text in shown, text
    assert len(shown.splitlines()) <= 40


def test_findings_are_named_most_important_first(sick: Platform, tmp_path: Path) -> None:
    sick.drift("w1", "packages:kubernetes")
    sick.facts["lb1"][p.HAPROXY] = STOPPED
    shown = picture_text(picture(sick, tmp_path), Style())
    assert shown.index("critical lb1: haproxy is stopped") < shown.index("warning w1: packages")


def test_a_silent_host_is_told_once_and_what_is_true_for_months_comes_last(sick: Platform, tmp_path: Path) -> None:
    sick.lose("w1")
    whole = picture(sick, tmp_path)
    whole = replace(whole, status=replace(whole.status, notes=("ingress-nginx is retired",)))
    shown = picture_text(whole, Style())
    assert shown.count("does not answer") == 1
    assert shown.splitlines()[-1] == "note: ingress-nginx is retired"


def test_the_same_on_several_hosts_is_one_line(sick: Platform, tmp_path: Path) -> None:
    for host in ("w1", "w2"):
        sick.facts[host][p.CONTAINERD] = STOPPED
    shown = picture_text(picture(sick, tmp_path), Style())
    assert "2 findings" in shown
    assert "error w1 w2: containerd is stopped" in shown


def test_what_is_not_installed_not_known_or_never_done_is_said_so(sick: Platform, tmp_path: Path) -> None:
    sick.api[p.ingress(sick.cluster)] = ABSENT
    shown = picture_text(picture(sick, tmp_path, backup=False), Style())
    assert "ingress not installed" in shown
    assert "none yet (`mlops-infra backup etcd`)" in shown
    assert {a.known for a in addons_of(sick.cluster, Facts())} == {False}


def test_the_shape_adds_to_that_of_a_part(sick: Platform, tmp_path: Path) -> None:
    sick.api |= {SERVICES: (SERVICE,), POOLS: (POOL,)}
    shape = picture_shape(picture(sick, tmp_path))
    assert {"nodes", "lb", "etcd", "addons", "pools", "addresses", "certificate", "backup", "findings"} <= set(shape)
    assert shape["addresses"] == [{"service": "shop/web", "addresses": ["10.0.0.100"], "ports": [80]}]
    assert shape["findings"] == []
