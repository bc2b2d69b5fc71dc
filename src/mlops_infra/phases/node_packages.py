"""What is installed on nodes, by phase: the first apt call of a host brings what its later ones would ask for."""

from __future__ import annotations

from collections.abc import Mapping

from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.distribution import time_service

__all__ = ["containerd_packages", "kubernetes_packages", "later_packages"]

Globs = Mapping[str, str | None]


def containerd_packages(cluster: Cluster) -> Globs:
    return {"containerd.io": f"{cluster.versions.containerd}-*"}


def kubernetes_packages(cluster: Cluster) -> Globs:
    pinned = dict.fromkeys(("kubelet", "kubeadm", "kubectl"), f"{cluster.versions.kubernetes}-*")
    return {**pinned, "kubernetes-cni": None, "cri-tools": None}


def later_packages(cluster: Cluster, *, is_node: bool) -> Globs:
    """What comes along with the base packages. Not HAProxy: its limits have to lie there before it starts."""
    time: Globs = {}
    if cluster.host.time_sync != "none":
        time = {time_service(cluster.host.time_sync)[0]: None}
    if not is_node:
        return time
    return {**time, **containerd_packages(cluster), **kubernetes_packages(cluster)}
