"""Writing a new cluster.yaml, from answers and from an Ansible inventory."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_infra.app.ansible_inventory import Inventory, read_inventory
from mlops_infra.app.init import Answers, NewHost, compose, from_inventory, parse_host, write_cluster_file
from mlops_infra.errors import ConfigError, UsageError
from mlops_infra.model.load import load_cluster, load_text
from mlops_infra.model.problem import ConfigProblems


def inventory(tmp_path: Path, text: str) -> Inventory:
    path = tmp_path / "hosts.ini"
    path.write_text(dedent(text))
    return read_inventory(path)


BRIEF = """\
    # the platform
    [haproxy]
    lb ansible_host=10.110.190.21

    [k8s-master]
    master[1:3] ansible_user=root

    [k8s-worker]
    worker-1 ansible_host=10.110.190.25 ansible_port=2222   # behind NAT
    worker-2 ansible_host=10.110.190.26
    worker-3 ansible_host=10.110.190.27 ansible_ssh_private_key_file="~/my keys/w3"

    [databases]
    db1

    [all:vars]
    ansible_user=ubuntu
    ansible_ssh_private_key_file=~/.ssh/id_ed25519
    """


def test_an_inventory_becomes_the_same_platform(tmp_path: Path) -> None:
    masters = "".join(f"master{n} ansible_host=10.110.190.2{n + 1}\n" for n in (1, 2, 3))
    read = inventory(tmp_path, dedent(BRIEF).replace("[databases]", f"[extra]\n{masters}\n[databases]"))
    assert read.ignored == ["databases"]
    path = tmp_path / "cluster.yaml"
    write_cluster_file(path, from_inventory(read, "mlops"))
    cluster = load_cluster(path).cluster
    assert [(h.name, h.address) for h in cluster.hosts.masters] == [
        (f"master{n}", f"10.110.190.2{n + 1}") for n in (1, 2, 3)
    ]
    assert (cluster.ssh.user, cluster.ssh.port, cluster.ssh.identity) == ("ubuntu", 22, "~/.ssh/id_ed25519")
    assert {h.ssh.user for h in cluster.hosts.masters} == {"root"}
    assert [h.ssh.port for h in cluster.hosts.workers] == [2222, None, None]
    assert cluster.hosts.workers[2].ssh.identity == "~/my keys/w3"
    assert cluster.hosts.lb[0].address == "10.110.190.21"


def test_children_and_nearer_groups_win_as_ansible_has_it(tmp_path: Path) -> None:
    read = inventory(
        tmp_path,
        """\
        [dc1]
        10.0.0.[08:10]
        [dc2]
        n[a:b] ansible_host=10.9.9.9
        [kube_control_plane:children]
        dc1
        [kube_node:children]
        dc2
        [cluster:children]
        kube_control_plane
        kube_node
        [cluster:vars]
        ansible_user = outer
        ansible_port = 22
        [dc2:vars]
        ansible_user=inner
        """,
    )
    assert [h.name for h in read.masters] == ["10.0.0.08", "10.0.0.09", "10.0.0.10"]
    assert [(h.name, h.user, h.port) for h in read.workers] == [("na", "inner", 22), ("nb", "inner", 22)]
    assert {h.user for h in read.masters} == {"outer"}
    assert read.ignored == []


def test_groups_that_contain_each_other_do_not_hang(tmp_path: Path) -> None:
    read = inventory(tmp_path, "[masters]\na\n[x:children]\ny\nmasters\n[y:children]\nx\n")
    assert [h.name for h in read.masters] == ["a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[masters]\na ansible_host\n", ":2: `ansible_host` is not `name=value`"),
        ("[masters]\na x='1\n", ":2:"),
        ("[masters]\na[1:b]\n", ":2: `[1:b]` is not a range"),
        ("[masters]\na[3:1]\n", "is empty"),
        ("[masters:wrong]\na\n", "is not a section"),
        ("[workers]\na\n", "has no masters"),
    ],
)
def test_a_wrong_inventory_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        inventory(tmp_path, text)
    assert said in caught.value.brief


def test_hosts_without_an_address_are_named(tmp_path: Path) -> None:
    read = inventory(tmp_path, "[masters]\nm1 ansible_user=a\n")
    with pytest.raises(ConfigError, match="no address for m1"):
        from_inventory(read, "demo")


def test_names_that_kubernetes_would_refuse_are_made_fit_and_stay_apart(tmp_path: Path) -> None:
    read = inventory(
        tmp_path,
        "[masters]\nM_1 ansible_host=10.0.0.1 ansible_user=a\n[workers]\nm-1 ansible_host=10.0.0.2\n10.0.0.3\n",
    )
    answers = from_inventory(read, "demo")
    assert [h.name for h in answers.masters + answers.workers] == ["m-1", "m-1-2", "host-10-0-0-3"]


def answers(**more: object) -> Answers:
    return Answers(name="demo", user="me", masters=[NewHost("m1", "10.0.0.3")], **more)  # type: ignore[arg-type]


def test_a_file_that_is_there_is_not_replaced_without_force(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("precious\n")
    with pytest.raises(ConfigError, match="there already"):
        write_cluster_file(path, answers())
    assert path.read_text() == "precious\n"
    write_cluster_file(path, answers(), force=True)
    assert load_cluster(path).cluster.name == "demo"


def test_answers_that_make_no_cluster_write_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    with pytest.raises(ConfigProblems):
        write_cluster_file(path, Answers(name="demo", user="me", masters=[NewHost("m1", "nowhere")]))
    assert list(tmp_path.iterdir()) == []


def test_networks_are_moved_out_of_the_hosts_way() -> None:
    text = compose(Answers(name="demo", user="me", masters=[NewHost("m1", "10.96.7.7")]))
    cluster = load_text(text, Path("c.yaml")).cluster
    assert cluster.network.service_cidr == "10.201.0.0/16"


def test_what_the_written_file_shows_as_comments_is_valid_as_it_stands() -> None:
    two = [NewHost("l1", "10.0.0.8"), NewHost("l2", "10.0.0.9")]
    text = compose(answers(lb=two))
    assert "without a pool they wait for one" in text
    text = text.replace("# lb:", "lb:").replace(
        "#   vip: {address: ADDRESS, interface: NAME}", "  vip: {address: 10.0.0.7, interface: eth0}"
    )
    assert load_text(text, Path("c.yaml")).cluster.endpoint_address == "10.0.0.7"


def test_the_written_file_names_a_schema_that_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    write_cluster_file(path, answers())
    schema = path.read_text().splitlines()[0].partition("$schema=")[2]
    assert (tmp_path / schema).is_file()


def test_a_host_is_name_and_address_or_gets_a_name() -> None:
    assert parse_host("a=10.0.0.1", "master", 1) == NewHost("a", "10.0.0.1")
    assert parse_host("10.0.0.1", "worker", 4) == NewHost("worker-4", "10.0.0.1")
    for wrong in ("=10.0.0.1", "a="):
        with pytest.raises(UsageError):
            parse_host(wrong, "master", 1)


LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)


@settings(max_examples=40)
@given(
    name=LABEL,
    user=st.from_regex(r"[A-Za-z0-9_#'\"{}\[\],&*!|>%@-]{1,12}", fullmatch=True),
    names=st.lists(LABEL, min_size=4, max_size=4, unique=True),
    identity=st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), min_size=1, max_size=20),
)
def test_what_init_writes_is_read_back_as_it_was_said(
    name: str, user: str, names: list[str], identity: str | None
) -> None:
    hosts = [NewHost(n, f"192.168.0.{i}", user=user, identity=identity) for i, n in enumerate(names, 1)]
    said = Answers(name=name, user=user, lb=hosts[:1], masters=hosts[1:2], workers=hosts[2:], identity=identity)
    cluster = load_text(compose(said), Path("c.yaml")).cluster
    assert (cluster.name, cluster.ssh.user, cluster.ssh.identity) == (name, user, identity)
    assert [h.name for h in cluster.all_hosts] == names
    assert {h.ssh.user for h in cluster.all_hosts} == {user}
    assert {h.ssh.identity for h in cluster.all_hosts} == {identity}
