"""What kubeadm wrote once, compared with cluster.yaml: a difference always shows, with the way to apply it or why not.

`up` changes none of it: the control plane's configuration is read when a master is made, joined or upgraded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlops_infra.core import ApiObject, Facts, Probe
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.finding import Finding, Severity
from mlops_infra.phases.kubeadm_config import (
    cluster_configuration,
    kube_proxy_configuration,
    kubelet_configuration,
)
from mlops_infra.render import parse_documents

__all__ = ["drift", "drift_probes", "is_readable"]

_CLUSTER = ApiObject("v1", "ConfigMap", "kubeadm-config", "kube-system")
_KUBELET = ApiObject("v1", "ConfigMap", "kubelet-config", "kube-system")
_PROXY = ApiObject("v1", "ConfigMap", "kube-proxy", "kube-system")

_FIXED = "a cluster keeps it for life: put the old value back, or build a new cluster"
_WAYS: tuple[tuple[str, Severity, str], ...] = (
    # Beginning of a leaf's path in ClusterConfiguration, severity, the way to apply it.
    (
        "kubernetesVersion",
        "refuse",
        "an upgrade is its own procedure and never a part of `up`; put the old version back",
    ),
    ("networking.", "refuse", _FIXED),
    ("controlPlaneEndpoint", "refuse", _FIXED),
    ("clusterName", "warn", _FIXED),
    (
        "apiServer.certSANs",
        "warn",
        "add it to configmap kube-system/kubeadm-config; then on each master: rm /etc/kubernetes/pki/apiserver.*, "
        "kubeadm init phase certs apiserver, and restart the API server's pod",
    ),
    (
        "",
        "warn",
        "change it in configmap kube-system/kubeadm-config; then `kubeadm upgrade node` on one master after the other",
    ),
)
_KUBELET_WAY = (
    "change it in configmap kube-system/kubelet-config; then on each node `kubeadm upgrade node phase kubelet-config` "
    "and `systemctl restart kubelet`"
)
_PROXY_WAY = (
    "change it in configmap kube-system/kube-proxy; then `kubectl -n kube-system rollout restart daemonset/kube-proxy`"
)
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")


def drift_probes() -> frozenset[Probe[Any]]:
    """Questions for the API."""
    return frozenset({_CLUSTER, _KUBELET, _PROXY})


def drift(cluster: Cluster, api: Facts) -> tuple[Finding, ...]:
    """Leaves of ours that differ from the cluster's own configuration; none where there is no cluster to ask.

    What the cluster has and the file does not name is kubeadm's default or somebody's choice, and is left alone.
    """
    found: list[Finding] = []
    if (there := _read(api, _CLUSTER, "ClusterConfiguration")) is not None:
        for difference in _differences(cluster_configuration(cluster), there):
            severity, way = next((s, w) for start, s, w in _WAYS if difference[0].startswith(start))
            found.append(_finding(severity, "kubeadm's configuration", difference, way))
    if (there := _read(api, _KUBELET, "kubelet")) is not None:
        found += [
            _finding("warn", "the kubelets' configuration", difference, _KUBELET_WAY)
            for difference in _differences(kubelet_configuration(cluster), there)
        ]
    if (there := _read(api, _PROXY, "config.conf")) is not None:
        found += [
            _finding("warn", "kube-proxy's configuration", difference, _PROXY_WAY)
            for difference in _differences(kube_proxy_configuration(cluster), there)
        ]
    return tuple(found)


def is_readable(api: Facts) -> bool:
    """Whether the API told the configuration that a cluster was made with."""
    return _read(api, _CLUSTER, "ClusterConfiguration") is not None


def _finding(severity: Severity, what: str, difference: tuple[str, Any, Any], way: str) -> Finding:
    path, old, new = difference
    return Finding(
        "",
        severity,
        f"{what} differs: {path} is {_said(old)} in the cluster, {_said(new)} in cluster.yaml",
        "cluster.yaml was changed after the cluster was made, or the cluster was changed by hand",
        way,
    )


def _read(api: Facts, probe: ApiObject, key: str) -> Mapping[str, Any] | None:
    configmap = api.value(probe)
    text = (configmap or {}).get("data", {}).get(key)
    documents = parse_documents(text) if text else []
    return documents[0] if documents else None


def _differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Path, the cluster's value and ours of each leaf that differs."""
    for key, wanted in ours.items():
        path, has = f"{prefix}{key}", theirs.get(key)
        if key in ("apiVersion", "kind"):
            continue
        if isinstance(wanted, Mapping):
            yield from _differences(wanted, has if isinstance(has, Mapping) else {}, f"{path}.")
        elif isinstance(wanted, list):
            yield from _list_differences(wanted, has if isinstance(has, list) else [], path)
        elif _normal(wanted) != _normal(has):
            yield path, has, wanted


def _list_differences(ours: list[Any], theirs: list[Any], path: str) -> Iterator[tuple[str, Any, Any]]:
    """Arguments by their name; of other lists, what of ours is missing."""
    if all(isinstance(item, Mapping) and "name" in item for item in ours):
        has = {item["name"]: item.get("value") for item in theirs if isinstance(item, Mapping)}
        yield from (
            (f"{path}.{i['name']}", has.get(i["name"]), i["value"]) for i in ours if has.get(i["name"]) != i["value"]
        )
        return
    missing = [item for item in ours if item not in theirs]
    if missing:
        yield path, theirs, ours


def _normal(value: Any) -> Any:
    """A duration as seconds: `1m0s` and `60s` are one."""
    if isinstance(value, str) and value and (match := _DURATION.fullmatch(value)):
        hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return hours * 3600 + minutes * 60 + seconds
    return value


def _said(value: object) -> str:
    if value is None:
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
