"""The lab's overlay over cluster.yaml: ordinary settings of the model, for what a lab host cannot be or have.

Everything else in the lab is as on a real site. `config show --lab` prints the two merged.
"""

from __future__ import annotations

from typing import Any

from mlops_infra.lab.twin import Twin
from mlops_infra.model.cluster import Cluster

__all__ = ["APT_PORT", "REGISTRIES", "REGISTRY_PORT", "make_overlay"]

APT_PORT = 8080
REGISTRY_PORT = 5000
REGISTRIES = ("registry.k8s.io", "ghcr.io", "quay.io", "docker.io")

_CRI = "io.containerd.grpc.v1.cri"
# Every service's hard limit where root lacks CAP_SYS_RESOURCE; more is refused by the kernel (domain.md 11.3).
_MAX_OPEN_FILES = 20000
# HAProxy needs two descriptors a connection, and some of its own.
_MAX_CONNECTIONS = 4000
# Not in a network namespace of their own, so not a host's to set: the machine's kernel is shared.
_SHARED_SYSCTLS = (
    "fs.file-max",
    "fs.inotify.max_user_instances",
    "fs.inotify.max_user_watches",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.pid_max",
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.netfilter.nf_conntrack_max",
    "vm.max_map_count",
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "vm.swappiness",
)


def make_overlay(cluster: Cluster, twin: Twin) -> dict[str, Any]:
    """The overlay as plain data. Paths in it are relative to cluster.yaml."""
    http = f"http://{twin.bridge_address}:{APT_PORT}"
    registry = f"http://{twin.bridge_address}:{REGISTRY_PORT}"
    overlay: dict[str, Any] = {
        "ssh": {
            "identity": ".mlops-infra/lab/id_ed25519",
            "agent": False,
            "bastion": None,
            "sudo": "auto",
            "sudo_password": None,
        },
        "mirrors": {
            "apt": [
                {"name": "mlops-infra", "url": f"{http}/apt/{{codename}}", "key_file": ".mlops-infra/lab/apt-key.asc"}
            ],
            "registries": {name: f"{registry}/v2/{name}" for name in REGISTRIES},
            "files": f"{http}/files",
        },
        "host": {"time_sync": "chrony", "chrony_options": "-x", "skip_sysctls": list(_SHARED_SYSCTLS)},
        "containerd": {
            "config": {
                "plugins": {_CRI: {"restrict_oom_score_adj": True, "containerd": {"discard_unpacked_layers": True}}}
            },
            "max_open_files": _MAX_OPEN_FILES,
        },
        "kubelet": {
            "config": {
                "failSwapOn": False,
                "imageGCHighThresholdPercent": 100,
                "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
            }
        },
        "kubeadm": {
            "ignore_preflight_errors": ["HTTPProxyCIDR"],
            "kube_proxy": {"conntrack": {"maxPerCore": 0}},
        },
        "lb": {"max_connections": min(cluster.lb.max_connections, _MAX_CONNECTIONS)},
    }
    hosts = _hosts(cluster)
    if hosts:
        overlay["hosts"] = hosts
    return overlay


def _hosts(cluster: Cluster) -> dict[str, Any]:
    """All hosts again, without what some say about their own keys and sudo: the lab's hosts have the lab's. Empty when
    none says such a thing, so that a host added to cluster.yaml later needs no new overlay."""
    own = ("identity", "sudo", "host_key")
    if not any(getattr(host.ssh, field) is not None for host in cluster.all_hosts for field in own):
        return {}
    dumped = cluster.hosts.model_dump(mode="json", exclude_unset=True)
    for group in dumped.values():
        for host in group:
            for field in own:
                host.get("ssh", {}).pop(field, None)
    return dumped
