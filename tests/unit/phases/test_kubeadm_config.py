import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.core import Secret
from mlops_infra.model.cluster import Cluster
from mlops_infra.operations.kubeadm import Joiner, kubeadm_join
from mlops_infra.phases.kubeadm_config import (
    api_server,
    cluster_configuration,
    init_yaml,
    join_document,
    kubelet_configuration,
)
from mlops_infra.render import parse_documents

MINTED = {
    "token": Secret("abcdef.0123456789abcdef"),
    "ca": Secret("Q0E="),
    "certificate_key": Secret("a" * 64),
    "member": Secret("none"),
}


def documents(cluster: Cluster) -> dict[str, Any]:
    return {d["kind"]: d for d in parse_documents(init_yaml(cluster, cluster.hosts.masters[0]))}


def validated(kubeadm: str, text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(text)
    command = [kubeadm, "config", "validate", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "unknown field" not in done.stderr


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"security": {"expose_metrics": False}},
        {
            "kubelet": {"config": {"evictionHard": {"nodefs.available": "0%"}}, "extra_args": {"v": "2"}},
            "kubeadm": {
                "cert_sans": ["api.example.org"],
                "api_server_args": {"goaway-chance": "0.001"},
                "kube_proxy": {"conntrack": {"maxPerCore": 0}},
            },
        },
    ],
    ids=["plain", "closed", "extended"],
)
def test_kubeadm_itself_finds_the_configuration_valid(
    make: Callable[..., Cluster], kubeadm: str, tmp_path: Path, parts: dict[str, Any]
) -> None:
    cluster = make(**parts)
    validated(kubeadm, init_yaml(cluster, cluster.hosts.masters[0]).encode(), tmp_path)


@pytest.mark.parametrize(("name", "role"), [("master-2", "master"), ("worker-1", "worker")])
def test_kubeadm_itself_finds_a_join_valid(
    cluster: Cluster, kubeadm: str, tmp_path: Path, name: str, role: Any
) -> None:
    host = cluster.host_named(name)
    joiner = Joiner(name, host.node_address, role, api_server(cluster), join_document(cluster, host))
    join, discovery = kubeadm_join(joiner, seed="master-1", kubernetes="1.31.4").script(MINTED).files
    there = tmp_path / "discovery.yaml"
    there.write_bytes(discovery.content)
    validated(kubeadm, join.content.replace(discovery.path.encode(), str(there).encode()), tmp_path)


def test_what_is_minted_is_in_a_closed_file_and_in_no_script(cluster: Cluster) -> None:
    host = cluster.host_named("master-2")
    operation = kubeadm_join(
        Joiner("master-2", host.node_address, "master", api_server(cluster), join_document(cluster, host)),
        seed="master-1",
        kubernetes="1.31.4",
    )
    script = operation.script(MINTED)
    join, discovery = script.files
    for file in script.files:
        assert file.mode == 0o600
        assert file.sensitive
        assert file.path.startswith("/run/")
    assert b"abcdef.0123456789abcdef" in join.content
    (document,) = parse_documents(join.content.decode())
    assert document["discovery"]["file"] == {"kubeConfigPath": discovery.path}
    (kubeconfig,) = parse_documents(discovery.content.decode())
    assert kubeconfig["clusters"] == [
        {"name": "", "cluster": {"server": "https://api.site.internal:6443", "certificate-authority-data": "Q0E="}}
    ]
    for secret in ("token", "ca", "certificate_key"):
        assert MINTED[secret].reveal() not in script.text
    assert 'rm -f "$config"' in script.text


def test_metrics_listen_everywhere_or_nowhere_and_never_on_a_nodes_address(make: Callable[..., Cluster]) -> None:
    for exposed, address in ((True, "0.0.0.0"), (False, "127.0.0.1")):
        found = documents(make(security={"expose_metrics": exposed}))
        cluster = found["ClusterConfiguration"]
        assert cluster["controllerManager"]["extraArgs"] == [{"name": "bind-address", "value": address}]
        assert cluster["scheduler"]["extraArgs"] == [{"name": "bind-address", "value": address}]
        assert cluster["etcd"]["local"]["extraArgs"] == [
            {"name": "listen-metrics-urls", "value": f"http://{address}:2381"}
        ]
        assert found["KubeProxyConfiguration"]["metricsBindAddress"] == f"{address}:10249"


def test_the_certificate_is_good_for_every_way_to_the_api(make: Callable[..., Cluster]) -> None:
    names = cluster_configuration(make(kubeadm={"cert_sans": ["api.example.org"]}))["apiServer"]["certSANs"]
    assert names == ["api.site.internal", "10.0.0.1", "10.0.0.11", "10.0.0.12", "10.0.0.13", "api.example.org"]


@pytest.mark.parametrize(
    ("version", "gates"),
    [
        ("1.31.4", {"ControlPlaneKubeletLocalMode": True}),
        ("1.32.1", {"ControlPlaneKubeletLocalMode": True}),
        ("1.33.0", None),
    ],
)
def test_the_feature_gate_is_set_where_kubeadm_has_it_off(
    make: Callable[..., Cluster], version: str, gates: dict[str, bool] | None
) -> None:
    assert cluster_configuration(make(versions={"kubernetes": version})).get("featureGates") == gates


def test_a_user_has_the_last_word_on_the_kubelet(make: Callable[..., Cluster]) -> None:
    found = kubelet_configuration(make(kubelet={"config": {"serverTLSBootstrap": False, "maxPods": 50}}))
    assert found["serverTLSBootstrap"] is False
    assert found["maxPods"] == 50
    assert found["cgroupDriver"] == "systemd"


def test_kept_swap_is_told_to_the_kubelet(make: Callable[..., Cluster]) -> None:
    assert kubelet_configuration(make(host={"swap": "keep"}))["failSwapOn"] is False
    assert "failSwapOn" not in kubelet_configuration(make())


def test_the_nodes_name_and_address_are_those_of_the_file(make: Callable[..., Cluster]) -> None:
    cluster = make(
        hosts={
            "lb": [{"name": "lb", "address": "10.0.0.1"}],
            "masters": [{"name": "m", "address": "192.0.2.1", "internal_address": "10.0.0.2"}],
        }
    )
    init = documents(cluster)["InitConfiguration"]
    assert init["nodeRegistration"]["name"] == "m"
    assert init["localAPIEndpoint"]["advertiseAddress"] == "10.0.0.2"
    assert {"name": "node-ip", "value": "10.0.0.2"} in init["nodeRegistration"]["kubeletExtraArgs"]


@pytest.mark.parametrize(
    ("taints", "expected"),
    [
        (None, [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]),
        ([], []),
        ([{"key": "k", "value": "v", "effect": "NoExecute"}], [{"key": "k", "value": "v", "effect": "NoExecute"}]),
    ],
)
def test_taints_of_a_master_are_its_roles_unless_the_file_names_some(
    make: Callable[..., Cluster], taints: Any, expected: Any
) -> None:
    cluster = make(hosts={"masters": [{"name": "m", "address": "10.0.0.2", "taints": taints}]})
    assert documents(cluster)["InitConfiguration"]["nodeRegistration"]["taints"] == expected
