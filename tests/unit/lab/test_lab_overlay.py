"""The lab's overlay: settings of the model, and nothing that the model would refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from mlops_infra.lab.overlay import make_overlay, with_lab_credentials
from mlops_infra.lab.twin import make_twin
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.load import load_cluster

FILE = """\
name: demo
ssh: {user: ubuntu, identity: ~/.ssh/production, agent: true, bastion: {address: 203.0.113.9}}
hosts:
  masters:
    - {name: m1, address: 10.7.0.22, ssh: {identity: other, sudo: password, host_key: "SHA256:abc", user: admin}}
  workers:
    - {name: w1, address: 10.7.0.25}
mirrors: {registries: {quay.io: "http://production:5000/v2/quay.io"}}
host: {time_servers: [ntp.example.org]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(FILE)
    return path


def merged(config: Path, open_files: int = 20000) -> Cluster:
    plain = load_cluster(config).cluster
    overlay = config.parent / "overlay.yaml"
    with overlay.open("w") as file:
        YAML(typ="safe", pure=True).dump(make_overlay(plain, make_twin(plain), open_files=open_files), file)
    return load_cluster(config, overlay).cluster


def test_the_overlay_merges_into_the_file_and_the_model_takes_all_of_it(config: Path) -> None:
    lab = merged(config)
    assert lab.mirrors.apt[0].url == "http://10.7.0.1:8080/apt/{codename}"
    assert lab.mirrors.files == "http://10.7.0.1:8080/files"
    assert lab.host.time_sync == "chrony"
    assert lab.host.chrony_options == "-x"
    assert lab.host.time_servers == ("ntp.example.org",), "what the lab does not need stays the user's"
    assert lab.kubelet.config["evictionHard"]["nodefs.available"] == "0%"
    assert lab.kubeadm.kube_proxy == {"conntrack": {"maxPerCore": 0}}
    assert lab.kubeadm.ignore_preflight_errors == ("HTTPProxyCIDR",)


def test_production_keys_bastions_and_mirrors_do_not_reach_the_lab(config: Path) -> None:
    lab = merged(config)
    assert lab.ssh.identity == ".mlops-infra/lab/id_ed25519"
    assert (lab.ssh.bastion, lab.ssh.agent) == (None, False)
    assert set(lab.mirrors.registries) == {"registry.k8s.io", "ghcr.io", "quay.io", "docker.io"}
    assert all(url == f"http://10.7.0.1:5000/v2/{name}" for name, url in lab.mirrors.registries.items())


def test_single_hosts_lose_their_own_credentials_in_the_lab_and_keep_their_user(config: Path) -> None:
    own = with_lab_credentials(merged(config)).hosts.masters[0].ssh
    assert (own.identity, own.sudo, own.host_key) == (None, None, None)
    assert own.user == "admin"


def cri(overlay: dict[str, Any]) -> dict[str, Any]:
    section: dict[str, Any] = overlay["containerd"]["config"]["plugins"]["io.containerd.grpc.v1.cri"]
    return section


def test_limits_follow_the_machine_and_never_exceed_what_a_site_has(config: Path) -> None:
    plain = load_cluster(config).cluster
    poor = make_overlay(plain, make_twin(plain), open_files=20000)
    rich = make_overlay(plain, make_twin(plain), open_files=10**9)
    assert poor["containerd"]["max_open_files"] == 20000
    assert poor["lb"]["max_connections"] == 4000
    assert rich["containerd"]["max_open_files"] == 1048576
    assert rich["lb"]["max_connections"] == plain.lb.max_connections
    assert cri(poor)["restrict_oom_score_adj"] is True
    assert cri(poor)["containerd"]["discard_unpacked_layers"] is True


def test_settings_that_live_in_a_network_namespace_are_not_skipped(config: Path) -> None:
    plain = load_cluster(config).cluster
    skipped = make_overlay(plain, make_twin(plain), open_files=1)["host"]["skip_sysctls"]
    assert "fs.inotify.max_user_instances" in skipped
    assert not [key for key in skipped if key.startswith(("net.ipv4.", "net.bridge.", "net.ipv6."))]
