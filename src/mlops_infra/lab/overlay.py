"""The lab's overlay over cluster.yaml: ordinary settings of the model, for what a lab host cannot be or have.

Everything else in the lab is as on a real site. `config show --lab` prints the two merged.
"""

from __future__ import annotations

from typing import Any

from mlops_infra.lab.mirror.versions import Versions
from mlops_infra.lab.twin import Twin
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host

__all__ = ["APT_PORT", "REGISTRIES", "REGISTRY_PORT", "make_overlay", "with_lab_credentials"]

INGRESS_VERSION = "1.11.1"
APT_PORT = 8080
REGISTRY_PORT = 5000
REGISTRIES = ("registry.k8s.io", "ghcr.io", "quay.io", "docker.io")

_HERE = Versions()
# Programs of Debian's, which come in one version only (lab/mirror/addon_images.py).
_BUILT = {name: getattr(_HERE, name) for name in ("prometheus", "alertmanager", "node_exporter")}
_CRI = "io.containerd.grpc.v1.cri"
_WANTED_OPEN_FILES = 1048576  # what containerd's own unit asks for
_FILES_PER_CONNECTION = 5  # HAProxy needs two a connection and some of its own; the unit's limit is set with room
# Not in a network namespace of their own, so not a host's to set: the machine's kernel is shared.
_SHARED_SYSCTLS = (
    "fs.file-max",
    "fs.inotify.max_user_instances",
    "fs.inotify.max_user_watches",
    "kernel.keys.root_maxbytes",
    "kernel.keys.root_maxkeys",
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


def make_overlay(cluster: Cluster, twin: Twin, *, open_files: int) -> dict[str, Any]:
    """The overlay as plain data. Paths in it are relative to cluster.yaml.

    `open_files` is the hard limit of this machine: where root lacks CAP_SYS_RESOURCE no service can have more.
    """
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
            "max_open_files": min(open_files, _WANTED_OPEN_FILES),
        },
        "kubelet": {
            "config": {
                "failSwapOn": False,
                "imageGCHighThresholdPercent": 100,
                "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
            }
        },
        # What a lab without public registries can build (lab/mirror/ingress.py); its image has no digest of upstream's.
        "versions": {"ingress_nginx": INGRESS_VERSION, **_BUILT},
        "ingress": {"image": f"registry.k8s.io/ingress-nginx/controller:v{INGRESS_VERSION}"},
        "kubeadm": {
            "ignore_preflight_errors": ["HTTPProxyCIDR"],
            "kube_proxy": {"conntrack": {"maxPerCore": 0}},
        },
        "lb": {"max_connections": min(cluster.lb.max_connections, open_files // _FILES_PER_CONNECTION)},
    }
    return overlay


def with_lab_credentials(cluster: Cluster) -> Cluster:
    """The cluster without what single hosts say about their own keys, pins and sudo: in the lab all have the lab's.

    An overlay may not change the hosts, so whoever reads cluster.yaml with the lab's overlay applies this too.
    """

    def bare(hosts: tuple[Host, ...]) -> tuple[Host, ...]:
        own = {"identity": None, "sudo": None, "host_key": None}
        return tuple(one.model_copy(update={"ssh": one.ssh.model_copy(update=own)}) for one in hosts)

    groups = cluster.hosts
    hosts = groups.model_copy(
        update={"lb": bare(groups.lb), "masters": bare(groups.masters), "workers": bare(groups.workers)}
    )
    return cluster.model_copy(update={"hosts": hosts})
