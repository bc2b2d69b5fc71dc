"""What is true whatever the hosts say is told by `plan`, by the report of `up`, and by `status`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlops_infra.app.context import open_site
from mlops_infra.app.platform import Asked, Platform
from mlops_infra.core import Phase
from mlops_infra.engine.observation import Observation
from mlops_infra.ui.console import Style
from mlops_infra.ui.plan import plan_text
from mlops_infra.ui.report import status_text

FILE = """\
name: site
ssh: {user: ops}
hosts:
  lb: [{name: lb-1, address: 10.0.0.2}]
  masters: [{name: m-1, address: 10.0.0.11}]
  workers: [{name: w-1, address: 10.0.0.21}]
"""


def opened(tmp_path: Path, more: str = "") -> Platform:
    config = tmp_path / "cluster.yaml"
    config.write_text(FILE + more)
    transport: Any = SimpleNamespace(close=lambda: None)
    platform = Platform(open_site(config, lab=False), Asked(config), transport, lambda event: None)
    platform._engine = platform._engine_for((Phase("none", "None", ()),))
    platform.engine.observation = Observation({})
    return platform


def told(platform: Platform) -> tuple[str, str]:
    """By the plan, and by the status that ends `up`."""
    from mlops_infra.core import Plan

    notes = platform.engine.settings.notes
    return plan_text(Plan("site", (), (), notes), Style()), status_text(platform.status(), Style())


def test_a_missing_pool_and_a_retired_part_are_told_by_the_plan_and_by_the_report(tmp_path: Path) -> None:
    for text in told(opened(tmp_path)):
        assert "pending: MetalLB has no pool" in text
        assert "ingress-nginx is retired" in text


def test_the_retired_part_names_its_successor_and_is_not_told_of_where_that_serves(tmp_path: Path) -> None:
    for text in told(opened(tmp_path)):
        assert "`ingress.controller: traefik` serves the same Ingresses" in text
    for text in told(opened(tmp_path, "ingress: {controller: traefik}\n")):
        assert "ingress-nginx is retired" not in text


def test_with_a_pool_nothing_is_pending(tmp_path: Path) -> None:
    for text in told(opened(tmp_path, "metallb: {pool: [10.0.0.100-10.0.0.110]}\n")):
        assert "pending" not in text
        assert "ingress-nginx is retired" in text
