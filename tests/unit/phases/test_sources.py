"""Where packages and images come from, as preflight asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.sources import sources_of

PACKAGES = {"pkgs.k8s.io", "download.docker.com"}
KUBERNETES = {"registry.k8s.io", "ghcr.io"}


def names(cluster: Cluster, host: str) -> set[str]:
    found = sources_of(cluster, cluster.host_named(host))
    assert len(set(found)) == len(found)
    return {name for name, _ in found}


def test_what_is_on_by_default_comes_from_four_registries(cluster: Cluster) -> None:
    assert names(cluster, "worker-1") == PACKAGES | KUBERNETES | {"quay.io", "registry-1.docker.io"}
    assert names(cluster, "master-1") == PACKAGES | KUBERNETES | {"quay.io"}, "speakers and exporters, and no more"
    assert names(cluster, "lb-1") == set()


OFF: dict[str, Any] = {
    "metallb": {"enabled": False},
    "monitoring": {"enabled": False},
    "storage": {"class": "none"},
    "network": {"cni": "none"},
}


@pytest.mark.parametrize(
    ("on", "worker", "master"),
    [
        ({}, set(), set()),
        ({"network": {}}, {"ghcr.io"}, {"ghcr.io"}),
        ({"metallb": {}}, {"quay.io"}, {"quay.io"}),
        ({"storage": {}}, {"registry-1.docker.io"}, set()),
        ({"monitoring": {}}, {"quay.io", "registry-1.docker.io"}, {"quay.io"}),
        ({"ingress": {"controller": "traefik"}}, {"registry-1.docker.io"}, set()),
        ({"ingress": {"controller": "traefik", "traefik_image": "reg.example.org:5000/traefik:v3"}},
         {"reg.example.org"}, set()),
        ({"ingress": {"controller": "traefik", "traefik_image": "mine/traefik:v3"}}, {"registry-1.docker.io"}, set()),
    ],
)  # fmt: skip
def test_only_what_is_switched_on_has_to_be_reached(
    make: Callable[..., Cluster], on: dict[str, Any], worker: set[str], master: set[str]
) -> None:
    cluster = make(**OFF | on)
    assert names(cluster, "worker-1") == PACKAGES | {"registry.k8s.io"} | worker
    assert names(cluster, "master-1") == PACKAGES | {"registry.k8s.io"} | master


def test_a_mirror_is_asked_in_place_of_its_registry(make: Callable[..., Cluster]) -> None:
    cluster = make(mirrors={"registries": {"docker.io": "http://10.0.0.5:5000/v2/docker.io"}})
    found = sources_of(cluster, cluster.host_named("worker-1"))
    assert ("10.0.0.5", 5000) in found
    assert "registry-1.docker.io" not in names(cluster, "worker-1")
    assert ("quay.io", 443) in found
