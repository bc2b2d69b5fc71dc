"""A run waits for nodes that will be Ready, and not for those that are off."""

from __future__ import annotations

from typing import Any

import pytest

from mlops_infra.core import UNKNOWN, ApiList, Facts
from mlops_infra.phases.ready import NodesReady

NODES = ApiList("nodes", api_version="v1")


def node(name: str, ready: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


@pytest.mark.parametrize("others", [(), ("True",), ("True", "Unknown")])
def test_nothing_is_waited_for_where_every_node_heard_of_is_ready(others: tuple[str, ...]) -> None:
    nodes = tuple(node(f"n{i}", status) for i, status in enumerate(others))
    assert NodesReady().diff(Facts({NODES: nodes})) is None


def test_a_node_that_says_not_ready_is_named() -> None:
    change = NodesReady().diff(Facts({NODES: (node("a", "True"), node("b", "False"))}))
    assert change is not None
    assert change.reason == "b: not yet"


def test_a_node_that_has_said_nothing_yet_is_waited_for() -> None:
    silent = {"metadata": {"name": "new"}, "status": {}}
    assert NodesReady().diff(Facts({NODES: (silent,)})) is not None


def test_before_there_is_a_cluster_the_wait_is_planned() -> None:
    assert NodesReady().diff(Facts({NODES: UNKNOWN})) is not None
