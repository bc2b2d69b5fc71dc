"""Small parts of phases: TOML, keys, Flannel's patch, node marks, the seed, release data."""

import hashlib
import json
import tomllib
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_infra.core import ABSENT, ApiObject, CommandFact, Facts, Stat, StatFact, System, SystemFact
from mlops_infra.errors import InfraError
from mlops_infra.model.cluster import Cluster
from mlops_infra.operations.evidence import evidence_probes
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.distribution import docker_repository, is_supported, kubernetes_repository
from mlops_infra.phases.flannel import images, patched
from mlops_infra.phases.hosts import endpoint_entries
from mlops_infra.phases.nodes import NodeMarks, nodes_phase
from mlops_infra.phases.openpgp import check_key, fingerprints
from mlops_infra.phases.releases import pause_image
from mlops_infra.phases.runtime import CRI, containerd_config, hosts_toml
from mlops_infra.phases.seed import choose_seed
from mlops_infra.phases.toml import deep_merged, to_toml

_TOML = st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    lambda inner: st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=6), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text('abc." -é', max_size=5), _TOML | st.lists(st.integers(), max_size=3), max_size=4))
def test_toml_reads_back_as_it_was_written(document: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(document)) == document


def test_merging_is_deep_and_the_users_word_is_last() -> None:
    assert deep_merged({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2], "e": 3}, "d": {"f": 1}}) == {
        "a": {"b": 1, "c": [2], "e": 3},
        "d": {"f": 1},
    }


def test_containerd_gets_the_whole_file_with_the_users_additions_in_it(make: Callable[..., Cluster]) -> None:
    cluster = make(containerd={"config": {"plugins": {CRI: {"restrict_oom_score_adj": True}}, "oom_score": -999}})
    found = tomllib.loads(containerd_config(cluster))
    cri = found["plugins"][CRI]
    assert found["version"] == 2
    assert found["oom_score"] == -999
    assert cri["restrict_oom_score_adj"] is True
    assert cri["sandbox_image"] == "registry.k8s.io/pause:3.10"
    assert cri["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is True
    assert cri["registry"]["config_path"] == "/etc/containerd/certs.d"


def test_a_mirror_below_a_path_overrides_the_path_and_the_upstream_stays_behind_it() -> None:
    found = tomllib.loads(hosts_toml("registry.k8s.io", "http://10.0.0.5:5000/v2/registry.k8s.io"))
    assert found["server"] == "https://registry.k8s.io"
    assert found["host"] == {
        "http://10.0.0.5:5000/v2/registry.k8s.io": {"capabilities": ["pull", "resolve"], "override_path": True}
    }
    plain = tomllib.loads(hosts_toml("docker.io", "https://mirror.example.org"))
    assert plain["server"] == "https://registry-1.docker.io"
    assert "override_path" not in plain["host"]["https://mirror.example.org"]


@pytest.mark.parametrize(("version", "tag"), [("1.31.4", "3.10"), ("1.34.0", "3.10.1"), ("1.37.0", "3.10.1")])
def test_the_sandbox_image_is_the_one_kubeadm_wants(version: str, tag: str) -> None:
    assert pause_image(version) == f"registry.k8s.io/pause:{tag}"


def armoured(*bodies: bytes) -> bytes:
    packets = b"".join(b"\x99" + len(body).to_bytes(2, "big") + body for body in bodies)
    text = b64encode(packets).decode()
    head, foot = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
    return f"{head}\nVersion: 1\n\n{text}\n=abcd\n{foot}\n".encode()


def test_a_keys_fingerprint_is_the_digest_of_its_packet() -> None:
    body = b"\x04" + b"key material"
    wanted = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False).hexdigest().upper()
    assert fingerprints(armoured(body)) == (wanted,)
    assert check_key(armoured(body), f"{wanted[:20]} {wanted[20:].lower()}", "here") == armoured(body)


def test_another_key_than_the_pinned_one_is_refused_also_beside_it() -> None:
    body, other = b"\x04ours", b"\x04theirs"
    (ours,) = fingerprints(armoured(body))
    for text in (armoured(other), armoured(body, other), armoured(body) + armoured(other)):
        with pytest.raises(InfraError, match="not the one that is pinned"):
            check_key(text, ours, "there")


@pytest.mark.parametrize("text", [b"<html>404</html>", b"", armoured(b"\x04k").replace(b"\n\n", b"\n\n!!!")])
def test_what_is_no_key_is_said_to_be_none(text: bytes) -> None:
    with pytest.raises(InfraError, match="no apt signing key"):
        check_key(text, None, "there")


def test_flannel_gets_our_network_and_the_interface_of_the_nodes_address(
    make: Callable[..., Cluster], context: PhaseContext
) -> None:
    manifest = context.manifest("flannel")
    documents = {d["kind"]: d for d in patched(manifest, make(network={"pod_cidr": "10.99.0.0/16"}))}
    network = json.loads(documents["ConfigMap"]["data"]["net-conf.json"])
    assert network == {"Network": "10.99.0.0/16", "Backend": {"Type": "vxlan"}}
    (container,) = documents["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["--ip-masq", "--kube-subnet-mgr", "--iface=$(NODE_IP)"]
    assert container["env"][-1]["valueFrom"] == {"fieldRef": {"fieldPath": "status.hostIP"}}


def test_flannel_asks_the_endpoint_and_does_not_wait_for_kube_proxy(
    make: Callable[..., Cluster], context: PhaseContext
) -> None:
    cluster = make()
    documents = {d["kind"]: d for d in patched(context.manifest("flannel"), cluster)}
    (container,) = documents["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert env["KUBERNETES_SERVICE_HOST"] == cluster.endpoint_name
    assert env["KUBERNETES_SERVICE_PORT"] == "6443"


def test_an_interface_that_the_file_names_is_taken_by_name(make: Callable[..., Cluster], context: PhaseContext) -> None:
    documents = {d["kind"]: d for d in patched(context.manifest("flannel"), make(network={"interface": "bond0"}))}
    (container,) = documents["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    assert container["args"][-1] == "--iface=bond0"
    assert "NODE_IP" not in {one["name"] for one in container["env"]}
    assert len(container["env"]) == 3


def test_flannels_images_are_known_before_it_runs(context: PhaseContext) -> None:
    assert images(context.manifest("flannel")) == (
        "ghcr.io/flannel-io/flannel-cni-plugin:v1",
        "ghcr.io/flannel-io/flannel:v2",
    )


@pytest.mark.parametrize("text", [b"kind: ConfigMap\ndata: {}\n", b"kind: DaemonSet\nspec: {}\n"])
def test_a_manifest_of_another_shape_is_refused(cluster: Cluster, text: bytes) -> None:
    with pytest.raises(InfraError, match="Flannel's manifest"):
        patched(text, cluster)


def test_only_the_endpoints_name_goes_into_etc_hosts(make: Callable[..., Cluster]) -> None:
    assert endpoint_entries(make()) == (("10.0.0.1", ("api.site.internal",)),)
    assert endpoint_entries(make(control_plane_endpoint="10.0.0.1")) == ()


NODE = ApiObject("v1", "Node", "n")
TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}
OTHER = {"key": "z", "effect": "NoExecute"}
MARKS = NodeMarks("n", (("tier", "gpu"),), ("k=v:NoSchedule",))


@pytest.mark.parametrize(
    ("node", "labels", "taints"),
    [
        ({"metadata": {"labels": {"tier": "gpu", "more": "x"}}, "spec": {"taints": [TAINT, OTHER]}}, False, False),
        ({"metadata": {"labels": {"tier": "cpu"}}, "spec": {"taints": [TAINT]}}, True, False),
        ({"metadata": {"labels": {"tier": "gpu"}}, "spec": {}}, False, True),
        ({"metadata": {}, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}, True, True),
    ],
    ids=["as wanted, with more", "label", "taint", "both"],
)  # fmt: skip
def test_marks_of_a_node_are_added_and_others_left_alone(node: dict[str, Any], labels: bool, taints: bool) -> None:
    change = MARKS.diff(Facts({NODE: node}))
    script = change.actions[0].script if change else ""  # type: ignore[union-attr]
    assert ("kubectl label node n --overwrite tier=gpu" in script) == labels
    assert ("kubectl taint node n --overwrite k=v:NoSchedule" in script) == taints


def test_marks_of_a_node_that_has_not_joined_are_planned() -> None:
    for facts in (Facts(), Facts({NODE: ABSENT})):
        change = MARKS.diff(facts)
        assert change is not None
        assert "tier" in change.diff


def test_each_nodes_marks_wait_for_its_own_join(make: Callable[..., Cluster], context: PhaseContext) -> None:
    hosts = {
        "masters": [{"name": "m", "address": "10.0.0.2"}],
        "workers": [{"name": "w", "address": "10.0.0.3", "labels": {"a": "b"}}, {"name": "x", "address": "10.0.0.4"}],
    }
    (step,) = nodes_phase(make(hosts=hosts), context).steps
    assert [(s.phase, s.host) for s in step.needs] == [("workers", "w")]


MASTER_FILES = (
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/etcd/member",
)


def master(name: str, whole: bool) -> Facts:
    there = StatFact("file", 0o600, "root", "root", 1)
    answers: dict[Any, Any] = {
        p: CommandFact(1, "") for p in evidence_probes(name, "kubeadm-init") if not isinstance(p, Stat | ApiObject)
    }
    return Facts(answers | {Stat(path): there if whole else ABSENT for path in MASTER_FILES})


@pytest.mark.parametrize(
    ("whole", "seed"),
    [
        ({}, "master-1"),
        ({"master-1": False, "master-2": False}, "master-1"),
        ({"master-1": True, "master-2": True}, "master-1"),
        ({"master-2": True, "master-3": True}, "master-2"),  # the first is gone
        ({"master-1": False, "master-2": True}, "master-2"),  # the first was emptied: no second cluster
    ],
)
def test_the_seed_is_the_first_master_that_carries_the_cluster(
    cluster: Cluster, whole: dict[str, bool], seed: str
) -> None:
    assert choose_seed(cluster, {name: master(name, w) for name, w in whole.items()}) == seed


@pytest.mark.parametrize(
    ("os_id", "version", "known"),
    [
        ("debian", "12", True), ("debian", "13", True), ("debian", "13.2", True), ("debian", "11", False),
        ("ubuntu", "22.04", True), ("ubuntu", "24.04", True), ("ubuntu", "20.04", False), ("fedora", "40", False),
        ("debian", "", False),
    ],
)  # fmt: skip
def test_supported_releases_are_four(os_id: str, version: str, known: bool) -> None:
    assert is_supported(os_id, version) is known


SYSTEMS = [("debian", "12", "bookworm", "x86_64"), ("ubuntu", "24.04", "noble", "aarch64")]


@pytest.mark.parametrize(("os_id", "version", "codename", "arch"), SYSTEMS)
def test_a_repositorys_address_follows_the_hosts_release(os_id: str, version: str, codename: str, arch: str) -> None:
    system = SystemFact(os_id, version, codename, arch, "6", "h", "id", 2, 1, 0.0, 2, (), "none")
    repository = docker_repository(b"KEY")
    asked = {p: CommandFact(0, "") for p in repository.probes() if type(p).__name__ == "Command"}
    change = repository.diff(Facts({System(): system, **asked}))
    assert change is not None
    texts = [a.content.decode() for a in change.actions if hasattr(a, "content")]
    source = next(t for t in texts if "URIs" in t)
    assert f"URIs: https://download.docker.com/linux/{os_id}\n" in source
    assert f"Suites: {codename}\n" in source
    assert "Components: stable\n" in source


def test_an_entry_of_another_minor_is_found_by_the_common_part_of_the_address() -> None:
    repository = kubernetes_repository("1.31", b"KEY")
    system = SystemFact("debian", "12", "bookworm", "x86_64", "6", "h", "id", 2, 1, 0.0, 2, (), "none")
    old = "deb https://pkgs.k8s.io/core:/stable:/v1.30/deb/ /"
    asked = {p: CommandFact(0, old) for p in repository.probes() if type(p).__name__ == "Command"}
    change = repository.diff(Facts({System(): system, **asked}))
    assert change is not None
    assert old in change.diff
