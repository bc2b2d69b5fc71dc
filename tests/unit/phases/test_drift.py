from collections.abc import Callable
from typing import Any

import pytest

from mlops_infra.core import ABSENT, API, Facts
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.drift import drift, drift_probes
from mlops_infra.phases.kubeadm_config import (
    cluster_configuration,
    kube_proxy_configuration,
    kubelet_configuration,
)
from mlops_infra.phases.preflight import judge
from mlops_infra.render import to_yaml


def api_of(cluster: Cluster, **changes: Any) -> Facts:
    """What the API of a platform made from `cluster` says; kubeadm's defaults stand beside what we wrote."""
    documents = {
        "kubeadm-config": (
            "ClusterConfiguration",
            cluster_configuration(cluster) | {"imageRepository": "registry.k8s.io"},
        ),
        "kubelet-config": ("kubelet", kubelet_configuration(cluster) | {"clusterDNS": ["10.96.0.10"]}),
        "kube-proxy": ("config.conf", kube_proxy_configuration(cluster) | {"mode": ""}),
    }
    return Facts(
        {
            probe: {"data": {(said := documents[probe.name])[0]: to_yaml(said[1] | changes.get(probe.name, {}))}}
            for probe in drift_probes()
        }  # type: ignore[attr-defined]
    )


def test_a_cluster_as_it_was_made_does_not_differ(cluster: Cluster) -> None:
    assert drift(cluster, api_of(cluster)) == ()


def test_where_nobody_answers_nothing_is_said(cluster: Cluster) -> None:
    assert drift(cluster, Facts()) == ()
    assert drift(cluster, Facts(dict.fromkeys(drift_probes(), ABSENT))) == ()


@pytest.mark.parametrize(
    ("parts", "severity", "word", "way"),
    [
        (
            {"versions": {"kubernetes": "1.31.5"}},
            "refuse",
            "kubernetesVersion is v1.31.4 in the cluster, v1.31.5",
            "upgrade",
        ),
        ({"network": {"pod_cidr": "10.99.0.0/16"}}, "refuse", "networking.podSubnet", "for life"),
        ({"control_plane_endpoint": "api.example.org"}, "refuse", "controlPlaneEndpoint", "for life"),
        (
            {"kubeadm": {"api_server_args": {"goaway-chance": "0.001"}}},
            "warn",
            "goaway-chance is not set",
            "upgrade node",
        ),
        ({"kubeadm": {"cert_sans": ["api.example.org"]}}, "warn", "apiServer.certSANs", "phase certs apiserver"),
        ({"kubelet": {"config": {"maxPods": 50}}}, "warn", "maxPods is not set in the cluster, 50", "kubelet-config"),
        ({"kubelet": {"config": {"evictionHard": {"memory.available": "1Gi"}}}}, "warn", "evictionHard.memory", "node"),
        (
            {"kubeadm": {"kube_proxy": {"mode": "nftables"}}},
            "warn",
            "mode is  in the cluster, nftables",
            "rollout restart",
        ),
    ],
)
def test_a_change_in_the_file_shows_with_the_way_to_apply_it(
    make: Callable[..., Cluster], parts: dict[str, Any], severity: str, word: str, way: str
) -> None:
    found = [f for f in drift(make(**parts), api_of(make())) if word in f.brief]
    assert [f.severity for f in found] == [severity]
    assert way in found[0].remedy


def test_an_edit_in_the_cluster_shows_too(cluster: Cluster) -> None:
    (found,) = drift(cluster, api_of(cluster, **{"kubelet-config": {"serverTLSBootstrap": False}}))
    assert "serverTLSBootstrap is False in the cluster, True in cluster.yaml" in found.brief


def test_one_duration_in_two_spellings_does_not_differ(make: Callable[..., Cluster]) -> None:
    made = make(kubelet={"config": {"imageMinimumGCAge": "1m0s"}})
    assert drift(make(kubelet={"config": {"imageMinimumGCAge": "60s"}}), api_of(made)) == ()


def test_preflight_refuses_to_work_on_a_cluster_of_another_version(make: Callable[..., Cluster]) -> None:
    found = judge(make(versions={"kubernetes": "1.31.5"}), {API: api_of(make())})
    assert [(f.host, f.severity) for f in found] == [("", "refuse")]
