"""kubeadm's configuration (v1beta4) out of the model: what the cluster is made from, and what each node joins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops_infra.core import bracketed, https_url
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import MASTER_PORT, Host
from mlops_infra.phases.releases import creation_feature_gates
from mlops_infra.phases.runtime import CRI_SOCKET, RESOLV_CONF
from mlops_infra.phases.toml import deep_merged
from mlops_infra.render import render

__all__ = [
    "api_server",
    "cluster_configuration",
    "init_yaml",
    "join_document",
    "kube_proxy_configuration",
    "kubelet_configuration",
    "node_taints",
]

_API = "kubeadm.k8s.io/v1beta4"
_CONTROL_PLANE_TAINT = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


def init_yaml(cluster: Cluster, host: Host) -> str:
    """The whole file for `kubeadm init` on the first master. Its bootstrap token is made by kubeadm, lives 15 minutes
    and is shown to nobody."""
    init = {
        "apiVersion": _API,
        "kind": "InitConfiguration",
        "bootstrapTokens": [{"ttl": "15m0s"}],
        "localAPIEndpoint": {"advertiseAddress": host.node_address, "bindPort": MASTER_PORT},
        "nodeRegistration": _registration(cluster, host),
    }
    return render(
        "kubeadm/init.yaml.j2",
        node=host,
        init=init,
        cluster=cluster_configuration(cluster),
        kubelet=kubelet_configuration(cluster),
        kube_proxy=kube_proxy_configuration(cluster),
    )


def cluster_configuration(cluster: Cluster) -> dict[str, Any]:
    """ClusterConfiguration: one for all masters, so nothing in it may name a node's address as one to listen on."""
    exposed = "0.0.0.0" if cluster.security.expose_metrics else "127.0.0.1"  # noqa: S104 - domain.md 7.2
    kubeadm, network = cluster.kubeadm, cluster.network
    document: dict[str, Any] = {
        "apiVersion": _API,
        "kind": "ClusterConfiguration",
        "clusterName": cluster.name,
        "kubernetesVersion": f"v{cluster.versions.kubernetes}",
        "controlPlaneEndpoint": f"{bracketed(cluster.endpoint_name)}:{cluster.endpoint_port}",
        "networking": {
            "podSubnet": network.pod_cidr,
            "serviceSubnet": network.service_cidr,
            "dnsDomain": network.dns_domain,
        },
        "apiServer": {"certSANs": list(_cert_sans(cluster)), **_arguments(kubeadm.api_server_args)},
        "controllerManager": _arguments({"bind-address": exposed, **kubeadm.controller_manager_args}),
        "scheduler": _arguments({"bind-address": exposed, **kubeadm.scheduler_args}),
        "etcd": {
            "local": {
                "dataDir": "/var/lib/etcd",
                **_arguments({"listen-metrics-urls": f"http://{exposed}:2381", **kubeadm.etcd_args}),
            }
        },
    }
    gates = {**creation_feature_gates(cluster.versions.kubernetes), **kubeadm.feature_gates}
    if gates:
        document["featureGates"] = gates
    return document


def kubelet_configuration(cluster: Cluster) -> dict[str, Any]:
    """KubeletConfiguration: the user's fields over ours."""
    ours: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        "resolvConf": RESOLV_CONF,
        "serverTLSBootstrap": True,
    }
    if cluster.host.swap == "keep":
        ours["failSwapOn"] = False
    return deep_merged(ours, cluster.kubelet.config)


def kube_proxy_configuration(cluster: Cluster) -> dict[str, Any]:
    """KubeProxyConfiguration: the user's fields over ours."""
    exposed = "0.0.0.0" if cluster.security.expose_metrics else "127.0.0.1"  # noqa: S104
    ours = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "metricsBindAddress": f"{exposed}:10249",
    }
    return deep_merged(ours, cluster.kubeadm.kube_proxy)


def api_server(cluster: Cluster) -> str:
    """The URL by which nodes know the API."""
    return https_url(cluster.endpoint_name, cluster.endpoint_port)


def join_document(cluster: Cluster, host: Host) -> dict[str, Any]:
    """JoinConfiguration without discovery and certificate key: these are minted when it joins."""
    document: dict[str, Any] = {
        "apiVersion": _API,
        "kind": "JoinConfiguration",
        "nodeRegistration": _registration(cluster, host),
    }
    if cluster.role(host.name) == "master":
        document["controlPlane"] = {
            "localAPIEndpoint": {"advertiseAddress": host.node_address, "bindPort": MASTER_PORT},
        }
    return document


def node_taints(cluster: Cluster, host: Host) -> list[dict[str, str]]:
    """The taints that a node has: those of the file, or its role's."""
    if host.taints is None:
        return [_CONTROL_PLANE_TAINT] if cluster.role(host.name) == "master" else []
    return [{"key": t.key, **({"value": t.value} if t.value else {}), "effect": t.effect} for t in host.taints]


def _registration(cluster: Cluster, host: Host) -> dict[str, Any]:
    arguments = {"node-ip": host.node_address, **cluster.kubelet.extra_args}
    return {
        "name": host.name,
        "criSocket": CRI_SOCKET,
        # Said even when empty: kubeadm would put its own in place of what is left out.
        "taints": node_taints(cluster, host),
        "ignorePreflightErrors": list(cluster.kubeadm.ignore_preflight_errors),
        "kubeletExtraArgs": _pairs(arguments),
    }


def _cert_sans(cluster: Cluster) -> tuple[str, ...]:
    """Every name and address by which somebody may call the API."""
    names = (
        cluster.endpoint_name,
        cluster.endpoint_address,
        *(host.node_address for host in cluster.hosts.lb),
        *(host.node_address for host in cluster.hosts.masters),
        *cluster.kubeadm.cert_sans,
    )
    return tuple(dict.fromkeys(names))


def _arguments(arguments: Mapping[str, str]) -> dict[str, Any]:
    return {"extraArgs": _pairs(arguments)} if arguments else {}


def _pairs(arguments: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in arguments.items()]
