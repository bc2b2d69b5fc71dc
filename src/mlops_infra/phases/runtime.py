"""The `runtime` phase: containerd with the whole file ours, kubelet, kubeadm and kubectl pinned and held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mlops_infra.core import (
    Change,
    Facts,
    Handler,
    Kind,
    Phase,
    Probe,
    ReadLink,
    Resource,
    Shell,
    Stat,
    Step,
    StepId,
)
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.flannel import images as flannel_images
from mlops_infra.phases.node_packages import containerd_packages, kubernetes_packages
from mlops_infra.phases.releases import pause_image
from mlops_infra.phases.toml import deep_merged, to_toml
from mlops_infra.render import render
from mlops_infra.resources import (
    File,
    Missing,
    Packages,
    Symlink,
    UnitState,
    daemon_reload,
    restart_unit,
)

__all__ = ["CRI", "CRI_SOCKET", "RESOLV_CONF", "containerd_config", "hosts_toml", "runtime_phase"]

NAME = "runtime"
_RESOLVED = "/run/systemd/resolve/resolv.conf"
_JOINED = "/etc/kubernetes/kubelet.conf"
CRI = "io.containerd.grpc.v1.cri"
CRI_SOCKET = "unix:///run/containerd/containerd.sock"
RESOLV_CONF = "/var/lib/mlops-infra/resolv.conf"
"""A link, per host, to the resolv.conf that pods may copy: the kubelet's configuration is one for all nodes, and only
some of them run systemd-resolved, whose stub address would make CoreDNS ask itself."""

_HEADER = "# Written by mlops-infra, whole. Add to it by `containerd.config` in cluster.yaml.\n"


@dataclass(frozen=True, slots=True)
class PodResolvConf:
    """The link at RESOLV_CONF, to whichever file of this host pods may copy."""

    @property
    def id(self) -> str:
        return f"symlink:{RESOLV_CONF}"

    @property
    def title(self) -> str:
        return "resolv.conf for pods"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({Stat(_RESOLVED), Stat(RESOLV_CONF), ReadLink(RESOLV_CONF)})

    def diff(self, facts: Facts) -> Change | None:
        resolved = facts.value(Stat(_RESOLVED)) is not None
        return Symlink(RESOLV_CONF, _RESOLVED if resolved else "/etc/resolv.conf").diff(facts)


@dataclass(frozen=True, slots=True)
class Prepull:
    """Images come in the background: nothing waits for them, and a node that has joined has them anyway."""

    script: str
    begun: str
    """A file that says that the pull of this version was begun."""

    @property
    def id(self) -> str:
        return "command:prepull"

    @property
    def title(self) -> str:
        return "images pulled in the background"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({Stat(_JOINED), Stat(self.begun)})

    def diff(self, facts: Facts) -> Change | None:
        if any(facts.value(Stat(path)) is not None for path in (_JOINED, self.begun)):
            return None
        run = f"systemd-run --quiet --collect --unit=mlops-infra-prepull {self.script} || :\ntouch {self.begun}\n"
        return Change(self.id, self.title, Kind.RUN, "not begun", (Shell(self.title, run),))


def runtime_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    """Every node, side by side; each needs its own preparation alone."""
    images = flannel_images(context.manifest("flannel")) if cluster.network.cni == "flannel" else ()
    steps = tuple(
        Step(NAME, host.name, _resources(cluster, host, images), needs=frozenset({StepId("hosts", host.name)}))
        for host in cluster.nodes
    )
    return Phase(NAME, "Container runtime and Kubernetes packages", steps)


def containerd_config(cluster: Cluster) -> str:
    """config.toml in containerd 1.7's format (version 2, which 2.x reads as well), the user's settings over ours."""
    ours: dict[str, Any] = {
        "version": 2,
        "plugins": {
            CRI: {
                "sandbox_image": pause_image(cluster.versions.kubernetes),
                "containerd": {
                    "runtimes": {"runc": {"runtime_type": "io.containerd.runc.v2", "options": {"SystemdCgroup": True}}}
                },
                "cni": {"bin_dir": "/opt/cni/bin", "conf_dir": "/etc/cni/net.d"},
                "registry": {"config_path": "/etc/containerd/certs.d"},
            }
        },
    }
    return _HEADER + to_toml(deep_merged(ours, cluster.containerd.config))


def hosts_toml(registry: str, mirror: str) -> str:
    """certs.d/<registry>/hosts.toml: the mirror first, the registry itself when the mirror has not got it.

    A mirror that is a path below /v2 needs `override_path`, or containerd puts another /v2 behind it.
    """
    upstream = "https://registry-1.docker.io" if registry == "docker.io" else f"https://{registry}"
    host: dict[str, Any] = {"capabilities": ["pull", "resolve"]}
    if urlsplit(mirror).path.strip("/"):
        host["override_path"] = True
    return "# Written by mlops-infra.\n" + to_toml({"server": upstream, "host": {mirror: host}})


def _resources(cluster: Cluster, host: Host, images: tuple[str, ...]) -> tuple[Resource, ...]:
    restart = restart_unit("containerd.service")
    return (
        *_limits(cluster, restart),
        # Held with what they are pinned to: an upgrade behind our back has taken API servers down (domain.md 1.4).
        Packages("containerd", containerd_packages(cluster), hold=True),
        File("/etc/containerd/config.toml", containerd_config(cluster), notifies=(restart,)),
        *(
            File(f"/etc/containerd/certs.d/{registry}/hosts.toml", hosts_toml(registry, mirror))
            for registry, mirror in sorted(cluster.mirrors.registries.items())
        ),
        UnitState("containerd.service", enabled=True, active=True),
        File("/etc/crictl.yaml", f"runtime-endpoint: {CRI_SOCKET}\nimage-endpoint: {CRI_SOCKET}\ntimeout: 10\n"),
        Packages("kubernetes", kubernetes_packages(cluster), hold=True),
        PodResolvConf(),
        UnitState("kubelet.service", enabled=True),
        *_prepull(cluster, host, images),
    )


def _limits(cluster: Cluster, restart: Handler) -> tuple[Resource, ...]:
    path = "/etc/systemd/system/containerd.service.d/mlops-infra.conf"
    if cluster.containerd.max_open_files is None:
        return (Missing(path, notifies=(daemon_reload(), restart)),)
    text = f"# Written by mlops-infra.\n[Service]\nLimitNOFILE={cluster.containerd.max_open_files}\n"
    return (File(path, text, notifies=(daemon_reload(), restart)),)


def _prepull(cluster: Cluster, host: Host, images: tuple[str, ...]) -> tuple[Resource, ...]:
    kubernetes, path = cluster.versions.kubernetes, "/var/lib/mlops-infra/prepull"
    text = render(
        "hosts/prepull.sh.j2",
        kubernetes=kubernetes, control_plane=cluster.role(host.name) == "master", images=images,
    )  # fmt: skip
    return (
        File(path, text, mode=0o755),
        Prepull(path, f"{path}-{kubernetes}"),
    )
