"""Flannel's own manifest, patched where this platform differs: pod network, interface of the node's address, and where
it finds the API."""

from __future__ import annotations

import copy
import json
from typing import Any

from mlops_infra.errors import InfraError
from mlops_infra.model.cluster import Cluster
from mlops_infra.render import parse_documents

__all__ = ["images", "patched"]


def images(manifest: bytes) -> tuple[str, ...]:
    """The images that the manifest runs, each once."""
    pod = _daemonset(parse_documents(manifest.decode()))["spec"]["template"]["spec"]
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    return tuple(dict.fromkeys(container["image"] for container in containers))


def patched(manifest: bytes, cluster: Cluster) -> tuple[dict[str, Any], ...]:
    """The manifest's objects with our pod network and interface.

    Flannel takes an address for an interface too, so each node's own address, which the kubelet was given as its node
    address, picks the interface on hosts with several. It asks the API at the endpoint, as kubelets do: the Service's
    address leads there only once kube-proxy has made its rules, and a flanneld that is started before that waits half a
    minute for it, ends, and the node is not Ready. Raises InfraError when the manifest is not what it was.
    """
    documents = copy.deepcopy(parse_documents(manifest.decode()))
    try:
        config = next(d for d in documents if d["kind"] == "ConfigMap")
        network = json.loads(config["data"]["net-conf.json"])
        network["Network"] = cluster.network.pod_cidr
        config["data"]["net-conf.json"] = json.dumps(network, indent=2) + "\n"
        pod = _daemonset(documents)["spec"]["template"]["spec"]
        flanneld = next(c for c in pod["containers"] if c["name"] == "kube-flannel")
        flanneld["args"].append(f"--iface={cluster.network.interface or '$(NODE_IP)'}")
        flanneld["env"] += [
            {"name": "KUBERNETES_SERVICE_HOST", "value": cluster.endpoint_name},
            {"name": "KUBERNETES_SERVICE_PORT", "value": str(cluster.endpoint_port)},
        ]
        if not cluster.network.interface:
            flanneld["env"].append({"name": "NODE_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}})
    except (StopIteration, KeyError, ValueError) as error:
        raise _unlike() from error
    return tuple(documents)


def _daemonset(documents: list[dict[str, Any]]) -> dict[str, Any]:
    for document in documents:
        if document.get("kind") == "DaemonSet":
            return document
    raise _unlike()


def _unlike() -> InfraError:
    return InfraError(
        "Flannel's manifest is not what this version of mlops-infra knows",
        cause="`versions.flannel` names a release whose manifest looks different",
        remedy="use the version that `mlops-infra init` writes, or `network.cni: none` and a CNI of your own",
    )
