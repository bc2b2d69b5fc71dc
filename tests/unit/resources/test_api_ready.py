"""When a workload counts as serving, by what the API says of it."""

from __future__ import annotations

from typing import Any

import pytest

from mlops_infra.core import ABSENT, ApiObject, Facts, Shell, Unknown
from mlops_infra.resources.api_ready import ApiReady

SELECTOR = {"selector": {"matchLabels": {"app": "x", "component": "y"}}}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "c", "namespace": "n"},
    "spec": SELECTOR,
}
DAEMONS = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "s", "namespace": "n"}, "spec": SELECTOR}
BOTH = ApiReady("Thing", (DEPLOYMENT, DAEMONS))


def facts(deployment: Any, daemons: Any) -> Facts:
    return Facts(
        {ApiObject("apps/v1", "Deployment", "c", "n"): deployment, ApiObject("apps/v1", "DaemonSet", "s", "n"): daemons}
    )


def deployment(**status: int) -> dict[str, Any]:
    well = {"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 2}
    return {"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": {**well, **status}}


def daemons(**status: int) -> dict[str, Any]:
    well = {"observedGeneration": 1, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3}
    return {"metadata": {"generation": 1}, "status": {**well, **status}}


def test_what_serves_needs_no_wait_even_with_a_pod_on_a_dead_node() -> None:
    assert BOTH.diff(facts(deployment(), daemons())) is None
    assert BOTH.diff(facts(deployment(availableReplicas=1), daemons(numberAvailable=2))) is None


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (ABSENT, daemons(), "c is not there yet"),
        (Unknown("down"), daemons(), "c: known when the cluster is there"),
        (deployment(observedGeneration=1), daemons(), "c: the change is not taken up yet"),
        (deployment(updatedReplicas=0), daemons(), "c: no pod of the present version"),
        (deployment(replicas=3), daemons(), "c: pods of an earlier version still stand in"),
        (deployment(availableReplicas=0), daemons(), "c: no pod is available"),
        (deployment(), daemons(desiredNumberScheduled=0, updatedNumberScheduled=0), "s: no pod of the present version"),
        (deployment(), daemons(numberAvailable=0), "s: no pod is available"),
    ],
)
def test_what_does_not_serve_is_waited_for_and_named(one: Any, other: Any, reason: str) -> None:
    change = BOTH.diff(facts(one, other))
    assert change is not None and change.reason == reason
    (wait,) = change.actions
    assert isinstance(wait, Shell)
    assert "Deployment n c app=x,component=y\nDaemonSet n s app=x,component=y\n" in wait.script
    assert wait.deadline > BOTH.deadline, "the script ends by itself, with its reasons, before it is cut off"


def test_a_deployment_scaled_to_nothing_by_hand_is_not_waited_for() -> None:
    asleep = deployment(updatedReplicas=0, availableReplicas=0)
    asleep["spec"]["replicas"] = 0
    assert BOTH.diff(facts(asleep, daemons())) is None
