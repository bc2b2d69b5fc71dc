"""The versions that a mirror holds, and what hangs together with one Kubernetes release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from mlops_infra.lab.mirror.components import ASKED_COMPONENTS, DEFAULT_COMPONENTS, OPTIONAL_COMPONENTS
from mlops_infra.lab.mirror.debian import CODENAMES
from mlops_infra.lab.mirror.progress import MirrorError
from mlops_infra.model.cluster import Cluster

__all__ = ["MirrorPlan", "Versions"]


@dataclass(frozen=True, slots=True)
class Versions:
    """Defaults are the reference platform's; etcd, CoreDNS and pause are those that `kubeadm config images list` of
    that Kubernetes names."""

    kubernetes: str = "1.31.4"
    containerd: str = "1.7.27"
    etcd: str = "3.5.15"
    etcd_image: str = "3.5.15-0"
    coredns: str = "1.11.3"
    pause: str = "3.10"
    cri_tools: str = "1.31.1"
    cni: str = "1.5.1"
    flannel: str = "0.26.7"
    flannel_cni: str = "1.6.2-flannel1"
    metallb: str = "0.14.8"
    python: str = "3.13-slim"
    ingress_nginx: str = "1.11.1"
    """The only one that can be built from source, and so the lab's; a site's mirror takes the cluster's own."""
    traefik: str = "3.7.13"
    local_path: str = "0.0.30"
    busybox: str = "1.36.1"
    metrics_server: str = "0.7.2"
    kube_state_metrics: str = "2.13.0"
    prometheus: str = "2.53.3"
    """As Debian 13 has it, like the next two; a site's mirror takes the cluster's own."""
    alertmanager: str = "0.28.1"
    node_exporter: str = "1.9.0"
    grafana: str = "11.2.0"

    def images(self, components: frozenset[str]) -> tuple[str, ...]:
        """Every image, under its upstream name."""
        k8s = "registry.k8s.io"
        named: list[str] = []
        if "kubernetes" in components:
            parts = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
            named += [f"{k8s}/{part}:v{self.kubernetes}" for part in parts]
            named.append(f"{k8s}/pause:{self.pause}")
        if "etcd" in components:
            named.append(f"{k8s}/etcd:{self.etcd_image}")
        if "coredns" in components:
            named.append(f"{k8s}/coredns/coredns:v{self.coredns}")
        if "flannel" in components:
            named.append(f"ghcr.io/flannel-io/flannel:v{self.flannel}")
            named.append(f"ghcr.io/flannel-io/flannel-cni-plugin:v{self.flannel_cni}")
        if "metallb" in components:
            named += [f"quay.io/metallb/{part}:v{self.metallb}" for part in ("controller", "speaker")]
        if "ingress" in components:
            named.append(f"{k8s}/ingress-nginx/controller:v{self.ingress_nginx}")
        if "traefik" in components:
            named.append(f"docker.io/library/traefik:v{self.traefik}")
        if "examples" in components:
            named.append(f"docker.io/library/python:{self.python}")
        return (*named, *self._addon_images(components))

    def _addon_images(self, components: frozenset[str]) -> tuple[str, ...]:
        named: list[str] = []
        if "storage" in components:
            named.append(f"docker.io/rancher/local-path-provisioner:v{self.local_path}")
            named.append(f"docker.io/library/busybox:{self.busybox}")
        if "metrics" in components:
            named.append(f"registry.k8s.io/metrics-server/metrics-server:v{self.metrics_server}")
        if "monitoring" in components:
            named.append(f"registry.k8s.io/kube-state-metrics/kube-state-metrics:v{self.kube_state_metrics}")
            named.append(f"quay.io/prometheus/prometheus:v{self.prometheus}")
            named.append(f"quay.io/prometheus/alertmanager:v{self.alertmanager}")
            named.append(f"quay.io/prometheus/node-exporter:v{self.node_exporter}")
            named.append(f"docker.io/grafana/grafana:{self.grafana}")
        return tuple(named)


@dataclass(frozen=True, slots=True)
class MirrorPlan:
    """What a mirror is to hold."""

    versions: Versions = Versions()
    components: frozenset[str] = frozenset(DEFAULT_COMPONENTS)
    codenames: tuple[str, ...] = CODENAMES

    def __post_init__(self) -> None:
        known = frozenset(DEFAULT_COMPONENTS) | frozenset(OPTIONAL_COMPONENTS) | frozenset(ASKED_COMPONENTS)
        if unknown := self.components - known:
            raise MirrorError(
                f"no such component: {', '.join(sorted(unknown))}", remedy=f"choose from {', '.join(sorted(known))}"
            )

    @classmethod
    def of(cls, cluster: Cluster) -> MirrorPlan:
        """Of a platform's versions and add-ons."""
        wanted = {field.name: getattr(cluster.versions, field.name, None) for field in fields(Versions)}
        versions = replace(Versions(), **{name: version for name, version in wanted.items() if version})
        addons = {
            "storage": cluster.storage.is_ours,
            "metrics": cluster.metrics.enabled,
            "monitoring": cluster.monitoring.enabled,
            "traefik": cluster.ingress.controller == "traefik",
        }
        return cls(versions).with_components("examples", *(name for name, is_on in addons.items() if is_on))

    def with_components(self, *names: str) -> MirrorPlan:
        return MirrorPlan(self.versions, self.components | frozenset(names), self.codenames)

    def from_source(self) -> MirrorPlan:
        """This plan with the versions that can be built where there is no public registry."""
        here = Versions()
        versions = replace(
            self.versions,
            ingress_nginx=here.ingress_nginx,
            prometheus=here.prometheus,
            alertmanager=here.alertmanager,
            node_exporter=here.node_exporter,
        )
        return MirrorPlan(versions, self.components, self.codenames)

    def describe(self) -> dict[str, Any]:
        return {
            "versions": asdict(self.versions),
            "components": sorted(self.components),
            "codenames": list(self.codenames),
        }

    def is_within(self, held: Mapping[str, Any]) -> bool:
        """Whether a mirror that was filled for a plan so described holds all of this one."""
        mine = self.describe()
        return held["versions"] == mine["versions"] and all(
            set(mine[part]) <= set(held[part]) for part in ("components", "codenames")
        )

    @property
    def has_packages(self) -> bool:
        return "kubernetes" in self.components

    @property
    def images(self) -> tuple[str, ...]:
        return self.versions.images(self.components)
