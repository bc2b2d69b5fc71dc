"""Objects of the API: drift is judged on our own leaves, and an apply carries what differs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlops_infra.core import ABSENT, Facts, Kind, Shell, Unknown
from mlops_infra.resources.api_leaves import differences
from mlops_infra.resources.api_objects import ApiObjects, probe_of

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "speaker", "namespace": "system", "labels": {"app": "speaker"}, "annotations": {}},
    "spec": {
        "replicas": 2,
        "template": {
            "spec": {
                "hostNetwork": False,
                "nodeSelector": None,
                "containers": [
                    {
                        "name": "main",
                        "image": "example.org/speaker:1",
                        "args": ["--port=1", "--v"],
                        "env": [{"name": "A", "value": ""}, {"name": "B", "value": "1"}],
                        "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}],
                        "resources": {"limits": {"cpu": "0.1", "memory": "1Gi"}},
                    }
                ],
            }
        },
    },
}


def server(**main: Any) -> dict[str, Any]:
    """The deployment as a server keeps it: defaults added, quantities in its own form, false and null left out."""
    container = {
        "name": "main",
        "image": "example.org/speaker:1",
        "args": ["--port=1", "--v"],
        "env": [{"name": "A"}, {"name": "B", "value": "1"}],
        "ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 80, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "100m", "memory": "1024Mi"}},
        "terminationMessagePath": "/dev/termination-log",
        **main,
    }
    injected = {"name": "sidecar", "image": "example.org/other"}
    return {
        **{k: v for k, v in DEPLOYMENT.items() if k != "spec"},
        "metadata": {"name": "speaker", "namespace": "system", "labels": {"app": "speaker", "team": "x"}, "uid": "1"},
        "spec": {
            "replicas": 2,
            "progressDeadlineSeconds": 600,
            "template": {"spec": {"containers": [injected, container], "dnsPolicy": "ClusterFirst"}},
        },
        "status": {"replicas": 2},
    }


def test_what_the_server_adds_or_writes_otherwise_is_no_drift() -> None:
    assert differences(DEPLOYMENT, server()) == []


@pytest.mark.parametrize(
    ("drift", "line"),
    [
        ({"image": "example.org/speaker:2"}, "[main].image: example.org/speaker:2 → example.org/speaker:1"),
        ({"args": ["--v", "--port=1"]}, "[main].args: ['--v', '--port=1'] → ['--port=1', '--v']"),
        ({"args": ["--port=1", "--v", "--x"]}, "[main].args: ['--port=1', '--v', '--x'] → ['--port=1', '--v']"),
        ({"env": [{"name": "B", "value": "2"}]}, "[main].env.[B].value: 2 → 1"),
        ({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}, "[main].resources.limits.cpu: 1 → 0.1"),
        ({"resources": {"limits": {"cpu": "100m"}}}, "[main].resources.limits.memory: (none) → 1Gi"),
    ],
)
def test_a_leaf_of_ours_that_differs_is_shown_old_and_new(drift: dict[str, Any], line: str) -> None:
    found = differences(DEPLOYMENT, server(**drift))
    assert f"spec.template.spec.containers.{line}" in found


def test_a_port_of_ours_that_is_gone_is_found_under_its_number_and_protocol() -> None:
    found = differences(DEPLOYMENT, server(ports=[{"containerPort": 53, "protocol": "TCP"}]))
    paths = {line.split(": ")[0].removeprefix("spec.template.spec.containers.[main].ports.") for line in found}
    assert paths == {"[80/TCP].containerPort", "[53/UDP].containerPort", "[53/UDP].protocol"}


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        ({"port": "80"}, {"port": 80}, True),
        ({"enabled": True}, {"enabled": "true"}, False),
        ({"enabled": False}, {}, True),
        ({"enabled": True}, {}, False),
        ({"count": 1}, {"count": True}, False),
        ({"text": "1Gi"}, {"text": "1024Mi"}, False),
        ({"sizeLimit": "1Gi"}, {"sizeLimit": "1024Mi"}, True),
        ({"limits": {"cpu": 1}}, {"limits": {"cpu": "1000m"}}, True),
        ({"limits": {"memory": "1e3"}}, {"limits": {"memory": "1k"}}, True),
        ({"limits": {"memory": "1M"}}, {"limits": {"memory": "1Mi"}}, False),
        ({"list": []}, {}, True),
        ({"list": ["a"]}, {}, False),
        ({"list": [{"x": 1}]}, {"list": [{"x": 1}, {"x": 2}]}, False),
        ({"tolerations": [{"operator": "Exists"}]}, {"tolerations": [{"operator": "Exists"}]}, True),
        ({"map": {"a": 1}}, {"map": "text"}, False),
    ],
)
def test_two_ways_to_write_a_value(wanted: dict[str, Any], found: dict[str, Any], *, same: bool) -> None:
    assert (differences({"spec": wanted}, {"spec": found}) == []) is same


def test_secrets_differ_without_being_shown() -> None:
    wanted = {"kind": "Secret", "stringData": {"password": "new-word"}, "metadata": {"name": "s"}}
    found = {"kind": "Secret", "data": {"password": "b2xkLXdvcmQ="}, "metadata": {"name": "s"}}
    assert differences(wanted, found) == ["data.password: ******** → ********"]
    same = {"kind": "Secret", "data": {"password": "bmV3LXdvcmQ="}, "metadata": {"name": "s"}}
    assert differences(wanted, same) == []


NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "system"}}
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "pools.example.org"},
    "spec": {"group": "example.org"},
}
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "s", "namespace": "system"},
    "stringData": {"password": "hush-hush"},
}
ALL = ApiObjects("metallb", (SECRET, DEPLOYMENT, CRD, NAMESPACE))


def test_where_there_is_no_cluster_yet_everything_is_to_be_made() -> None:
    facts = Facts({p: Unknown("no API") for p in ALL.probes()})
    change = ALL.diff(facts)
    assert change is not None
    assert (change.kind, change.reason) == (Kind.CREATE, "cluster does not exist yet")
    assert len(change.actions) == 2
    assert ALL.diff(Facts()) == change


def test_namespaces_and_types_go_first_and_types_are_waited_for() -> None:
    change = ALL.diff(Facts(dict.fromkeys(ALL.probes(), ABSENT)))
    assert change is not None
    first, rest = change.actions
    assert isinstance(first, Shell) and isinstance(rest, Shell)
    assert [json.loads(line)["kind"] for line in first.stdin.splitlines()] == ["CustomResourceDefinition", "Namespace"]
    assert [json.loads(line)["kind"] for line in rest.stdin.splitlines()] == ["Secret", "Deployment"]
    assert "wait --for=condition=Established" in first.script and "crd/pools.example.org" in first.script
    for action in (first, rest):
        assert "--server-side --field-manager=mlops-infra --force-conflicts -f -" in action.script
        assert "hush-hush" not in action.script + action.title + change.diff + repr(action)


def test_only_objects_that_differ_are_applied_and_named() -> None:
    secret = {**SECRET, "data": {"password": "aHVzaC1odXNo"}}
    there: dict[Any, Any] = {
        probe_of(SECRET): secret,
        probe_of(CRD): CRD,
        probe_of(NAMESPACE): NAMESPACE,
        probe_of(DEPLOYMENT): server(),
    }
    assert ALL.diff(Facts(there)) is None
    drifted = ALL.diff(Facts({**there, probe_of(DEPLOYMENT): server(image="x")}))
    assert drifted is not None
    assert drifted.reason == "Deployment system/speaker differs"
    (action,) = drifted.actions
    assert isinstance(action, Shell) and json.loads(action.stdin)["metadata"]["name"] == "speaker"
    gone = ALL.diff(Facts({**there, probe_of(NAMESPACE): ABSENT}))
    assert gone is not None and gone.reason == "Namespace system not there"


def test_an_object_that_could_not_be_asked_about_is_applied_not_taken_for_good() -> None:
    resource = ApiObjects("two", (NAMESPACE, CRD))
    change = resource.diff(Facts({probe_of(NAMESPACE): NAMESPACE, probe_of(CRD): Unknown("time ran out")}))
    assert change is not None and "pools.example.org" in change.diff
