import json
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mlops_infra.core import ABSENT, API, ApiObject, Command, CommandFact, Facts, System, SystemFact
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.drift import drift_probes
from mlops_infra.phases.kubeadm_config import cluster_configuration
from mlops_infra.phases.ports import datagrams_from, ours_on, ways_from
from mlops_infra.phases.preflight import Finding, judge, probes

GIB = 1024**3
GOOD = SystemFact(
    "debian", "13", "trixie", "x86_64", "6.12", "h", "id", 4, 8 * GIB, 1000.0, 2, (), "none"
)  # fmt: skip
BARE = "prepared no\nkubeadm no\ndisk 50000000\nlisten 0016\n"


def facts_for(cluster: Cluster, said: dict[str, str] | None = None, **machines: dict[str, Any]) -> dict[str, Facts]:
    """All hosts in order, but for what is named: `said` by host, fields of the system by host with `_` for `-`."""
    found = {}
    for host in cluster.all_hosts:
        own = {"hostname": host.name, "machine_id": f"id-{host.name}", "addresses": (host.node_address,)}
        system = replace(GOOD, **(own | machines.get(host.name.replace("-", "_"), {})))
        (command,) = [p for p in probes(cluster, host) if isinstance(p, Command)]
        found[host.name] = Facts({System(): system, command: CommandFact(0, (said or {}).get(host.name, BARE))})
    return found


def told_by_the_api(cluster: Cluster) -> Facts:
    """What the API of a cluster that was made from this file says of it."""
    (probe,) = [p for p in drift_probes() if isinstance(p, ApiObject) and p.name == "kubeadm-config"]
    return Facts({probe: {"data": {"ClusterConfiguration": json.dumps(cluster_configuration(cluster))}}})


def briefs(found: tuple[Finding, ...]) -> list[tuple[str, str, str]]:
    return [(f.host, f.severity, f.brief) for f in found]


def test_hosts_as_they_should_be_are_not_spoken_of(cluster: Cluster) -> None:
    assert judge(cluster, facts_for(cluster)) == ()


@pytest.mark.parametrize(
    ("host", "fields", "severity", "word"),
    [
        ("worker-1", {"os_id": "fedora", "os_version": "40"}, "refuse", "fedora 40 is not supported"),
        ("worker-1", {"os_version": "11"}, "refuse", "debian 11 is not supported"),
        ("worker-1", {"arch": "riscv64"}, "refuse", "riscv64"),
        ("master-1", {"cpus": 1}, "refuse", "1 CPU, a master needs 2"),
        ("master-1", {"memory": GIB}, "refuse", "1024 MiB of memory, a master needs 1700"),
        ("worker-1", {"addresses": ("192.0.2.7",)}, "refuse", "10.0.0.21 is not an address of this machine"),
        ("worker-1", {"clock": 1008.0}, "warn", "its clock is 8 s ahead of the others"),
        ("worker-1", {"clock": 940.0}, "refuse", "its clock is 60 s behind the others"),
        ("worker-2", {"machine_id": "id-worker-1"}, "refuse", "the same machine-id as worker-1"),
        ("worker-2", {"hostname": "worker-1"}, "warn", "the same hostname as worker-1"),
        ("worker-1", {"cgroup_version": 1}, "note", "cgroup v1 is in use"),
    ],
)
def test_a_machine_that_will_not_do_is_named_with_its_fault(
    cluster: Cluster, host: str, fields: dict[str, Any], severity: str, word: str
) -> None:
    found = judge(cluster, facts_for(cluster, **{host.replace("-", "_"): fields}))
    assert [(f.host, f.severity) for f in found] == [(host, severity)]
    assert word in found[0].brief


@pytest.mark.parametrize(("version", "severity"), [("1.34.0", "note"), ("1.35.0", "refuse")])
def test_cgroup_v1_is_refused_from_the_minor_that_refuses_it(
    make: Callable[..., Cluster], version: str, severity: str
) -> None:
    cluster = make(versions={"kubernetes": version})
    (found,) = judge(cluster, facts_for(cluster, worker_1={"cgroup_version": 1}))
    assert found.severity == severity


@pytest.mark.parametrize(
    ("host", "line", "severity", "word"),
    [
        ("master-1", "listen 192B", "refuse", "port 6443 is taken"),
        ("lb-1", "listen 0050", "refuse", "port 80 is taken"),
        ("master-2", "way 10.0.0.11 2379 silent", "warn", "no way to master-1 port 2379: silent"),
        ("master-2", "way 10.0.0.11 2379 prohibited", "warn", "no way to master-1 port 2379: prohibited"),
        ("master-2", "way 10.0.0.11 2379 untold", "note", "could not be told"),
        ("master-2", "datagram 10.0.0.11 8472 silent", "warn", "no way to master-1 port 8472/udp: silent"),
        ("master-2", "datagram 10.0.0.11 8472 prohibited", "warn", "no way to master-1 port 8472/udp: prohibited"),
        ("master-2", "datagram 10.0.0.11 8472 untold", "note", "could not be told"),
        ("worker-1", "outbound registry.k8s.io 443 unresolved", "refuse", "registry.k8s.io port 443"),
        (
            "worker-1",
            "dropin /etc/containerd/conf.d/nvidia.toml",
            "refuse",
            "nvidia.toml names containerd's CRI section",
        ),
        ("worker-1", "mac 52:54:00:00:00:01", None, ""),
    ],
)
def test_what_a_bare_host_says_of_itself_is_judged(
    cluster: Cluster, host: str, line: str, severity: str | None, word: str
) -> None:
    found = judge(cluster, facts_for(cluster, {host: f"{BARE}{line}\n"}))
    assert [f.severity for f in found] == ([severity] if severity else [])
    assert all(word in f.brief for f in found)


@pytest.mark.parametrize("outcome", ["open", "refused"])
def test_a_way_on_which_the_other_host_itself_answers_is_open(cluster: Cluster, outcome: str) -> None:
    assert judge(cluster, facts_for(cluster, {"master-2": f"{BARE}way 10.0.0.11 2379 {outcome}\n"})) == ()


def test_an_undeliverable_datagram_was_a_way_that_is_open(cluster: Cluster) -> None:
    assert judge(cluster, facts_for(cluster, {"master-2": f"{BARE}datagram 10.0.0.11 8472 refused\n"})) == ()


def test_silence_of_a_host_where_flannel_runs_already_tells_nothing_and_it_is_said_once(cluster: Cluster) -> None:
    ours = dict.fromkeys(("master-1", "master-2"), "prepared yes\nkubeadm yes\n")
    new = f"{BARE}datagram 10.0.0.11 8472 silent\ndatagram 10.0.0.12 8472 silent\n"
    (found,) = judge(cluster, facts_for(cluster, {**ours, "worker-1": new}))
    assert found.severity == "note"
    assert "master-1 port 8472/udp, master-2 port 8472/udp" in found.brief


def test_nodes_send_datagrams_to_one_another_where_flannel_does(make: Callable[..., Cluster]) -> None:
    cluster = make()
    asked = datagrams_from(cluster, cluster.host_named("worker-1"))
    assert set(asked) == {(n.node_address, 8472) for n in cluster.nodes if n.name != "worker-1"}
    assert datagrams_from(cluster, cluster.host_named("lb-1")) == ()
    bare = make(network={"cni": "none"})
    assert datagrams_from(bare, bare.host_named("worker-1")) == ()


def test_ports_of_ours_on_a_host_that_is_ours_are_not_taken_by_strangers(cluster: Cluster) -> None:
    assert judge(cluster, facts_for(cluster, {"master-1": "prepared yes\nkubeadm yes\nlisten 192B\n"})) == ()


def test_two_network_cards_with_one_address_are_refused(cluster: Cluster) -> None:
    same = f"{BARE}mac 52:54:00:00:00:01\n"
    (found,) = judge(cluster, facts_for(cluster, {"worker-1": same, "worker-3": same}))
    assert (found.host, found.severity) == ("worker-3", "refuse")
    assert "worker-1" in found.brief


def test_a_cluster_of_somebody_else_is_recognised_and_taken_over_only_when_asked(cluster: Cluster) -> None:
    facts = facts_for(cluster, {"master-1": "prepared no\nkubeadm yes\ndisk 50000000\nlisten 192B\n"})
    (found,) = judge(cluster, facts)
    assert found.severity == "refuse"
    assert "--adopt" in found.remedy
    assert judge(cluster, {**facts, API: told_by_the_api(cluster)}, adopt=True) == ()


@pytest.mark.parametrize("api", [Facts(), Facts(dict.fromkeys(drift_probes(), ABSENT))])
def test_a_cluster_that_cannot_be_compared_with_the_file_is_not_taken_over(cluster: Cluster, api: Facts) -> None:
    facts = facts_for(cluster, {"master-1": "prepared no\nkubeadm yes\ndisk 50000000\n"})
    (found,) = judge(cluster, {**facts, API: api}, adopt=True)
    assert found.severity == "refuse"
    assert "master-1 cannot be compared" in found.brief
    assert found.cause
    assert "kubeadm-config" in found.remedy
    ours = facts_for(cluster, {"master-1": "prepared yes\nkubeadm yes\n"})
    assert judge(cluster, {**ours, API: api}, adopt=True) == (), "what is ours already is judged as ever"


def test_a_cluster_that_does_not_agree_with_the_file_is_not_taken_over(
    cluster: Cluster, make: Callable[..., Cluster]
) -> None:
    facts = facts_for(cluster, {"master-1": "prepared no\nkubeadm yes\ndisk 50000000\n"})
    other = told_by_the_api(make(network={"pod_cidr": "10.200.0.0/16"}))
    (found,) = judge(cluster, {**facts, API: other}, adopt=True)
    assert found.severity == "refuse"
    assert "podSubnet" in found.brief


def test_a_host_that_did_not_answer_is_not_judged(cluster: Cluster) -> None:
    facts = facts_for(cluster)
    del facts["worker-1"]
    assert judge(cluster, facts) == ()


def test_the_worst_comes_first(cluster: Cluster) -> None:
    found = judge(cluster, facts_for(cluster, worker_1={"cgroup_version": 1}, worker_2={"cpus": 0}))
    assert [f.severity for f in found] == ["refuse", "note"]


def test_ways_lead_to_others_and_each_is_tried_once(cluster: Cluster) -> None:
    for host in cluster.all_hosts:
        ways = ways_from(cluster, host)
        assert len(set(ways)) == len(ways)
        assert host.node_address not in {address for address, _ in ways}
    assert ("10.0.0.12", 2380) in ways_from(cluster, cluster.host_named("master-1"))
    assert ("10.0.0.12", 2380) not in ways_from(cluster, cluster.host_named("worker-1"))
    assert ("10.0.0.21", 32624) in ways_from(cluster, cluster.host_named("lb-1"))


def ports_called(cluster: Cluster, host: str, address: str) -> set[int]:
    return {port for to, port in ways_from(cluster, cluster.host_named(host)) if to == address}


def test_a_worker_calls_what_speakers_metrics_server_and_prometheus_on_it_call(cluster: Cluster) -> None:
    """domain.md 1.7: memberlist among all nodes, and what is measured, from where the pods run."""
    everywhere = {7946, 10250, 9100, 10249, 7472}
    assert ports_called(cluster, "worker-1", "10.0.0.22") == everywhere
    assert ports_called(cluster, "worker-1", "10.0.0.11") == everywhere | {2381, 10257, 10259}
    assert ports_called(cluster, "worker-1", "10.0.0.1") == {6443, 9100, 8404}
    assert ports_called(cluster, "master-1", "10.0.0.21") == {7946, 10250}


@pytest.mark.parametrize(
    ("parts", "worker", "master"),
    [
        ({"monitoring": {"enabled": False}}, {7946, 10250}, {7946, 10250}),
        ({"metrics": {"enabled": False}, "monitoring": {"enabled": False}}, {7946}, {7946}),
        ({"metallb": {"enabled": False}, "monitoring": {"enabled": False}}, {10250}, {10250}),
        (
            {"security": {"expose_metrics": False}},
            {7946, 10250, 9100, 7472},
            {7946, 10250, 9100, 7472},
        ),
    ],
)
def test_what_is_switched_off_is_not_called(
    make: Callable[..., Cluster], parts: dict[str, Any], worker: set[int], master: set[int]
) -> None:
    cluster = make(**parts)
    assert ports_called(cluster, "worker-1", "10.0.0.22") == worker
    assert ports_called(cluster, "worker-1", "10.0.0.11") == master


def test_ways_are_bounded_however_many_hosts_there_are(make: Callable[..., Cluster]) -> None:
    hosts = {
        "lb": [{"name": "lb-1", "address": "10.0.0.1"}],
        "masters": [{"name": f"m{n}", "address": f"10.0.1.{n}"} for n in range(1, 4)],
        "workers": [{"name": f"w{n}", "address": f"10.0.2.{n}"} for n in range(1, 201)],
    }
    cluster = make(hosts=hosts)
    assert all(len(ways_from(cluster, host)) < 120 for host in cluster.all_hosts)


def test_ports_of_one_host_that_is_not_reached_are_one_finding(cluster: Cluster) -> None:
    said = f"{BARE}way 10.0.0.11 2379 silent\nway 10.0.0.11 2380 silent\nway 10.0.0.12 2380 silent\n"
    found = judge(cluster, facts_for(cluster, {"master-3": said}))
    assert briefs(found) == [
        ("master-3", "warn", "no way to master-1 ports 2379, 2380: silent"),
        ("master-3", "warn", "no way to master-2 port 2380: silent"),
    ]


def test_a_new_host_is_not_warned_of_our_own_firewall(make: Callable[..., Cluster]) -> None:
    """Its rules let a new host in at the end of the run that takes it in; the API is open to all."""
    cluster = make(security={"firewall": True})
    ours = dict.fromkeys(("master-1", "worker-2"), "prepared yes\nkubeadm yes\n")
    new = f"{BARE}way 10.0.0.11 10250 silent\nway 10.0.0.22 7946 silent\nway 10.0.0.12 7946 silent\n"
    found = judge(cluster, facts_for(cluster, {**ours, "worker-1": new}))
    assert briefs(found) == [
        ("worker-1", "warn", "no way to master-2 port 7946: silent"),
        ("worker-1", "note", "it could not be told whether master-1 port 10250, worker-2 port 7946 can be reached"),
    ]
    (closed,) = judge(cluster, facts_for(cluster, {**ours, "worker-1": f"{BARE}way 10.0.0.11 6443 silent\n"}))
    assert closed.severity == "warn"


def test_no_port_is_wanted_by_two_roles_that_could_be_mistaken(cluster: Cluster) -> None:
    assert 6443 in ours_on(cluster, "master")
    assert 8404 in ours_on(cluster, "lb")
    assert 2379 not in ours_on(cluster, "worker")


def test_the_script_says_what_this_machine_is(cluster: Cluster) -> None:
    (command,) = [p for p in probes(cluster, cluster.host_named("worker-1")) if isinstance(p, Command)]
    script = command.script.replace("10.0.0.1 6443", "127.0.0.1 1")
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    script = script.replace("datagram 10.0.0.11 8472", "datagram 127.0.0.1 1")
    script = script.replace("datagram 10.0.0.12 8472", f"datagram 127.0.0.1 {silent.getsockname()[1]}")
    skipped = ("try outbound", "datagram 10.")
    script = "\n".join(line for line in script.splitlines() if not line.startswith(skipped))
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=True, timeout=20)
    words = {line.split()[0] for line in done.stdout.splitlines()}
    assert {"prepared", "kubeadm", "disk"} <= words
    assert "way 127.0.0.1 1 refused" in done.stdout
    assert "datagram 127.0.0.1 1 refused" in done.stdout
    assert f"datagram 127.0.0.1 {silent.getsockname()[1]} silent" in done.stdout
    silent.close()


def test_what_serves_on_the_load_balancer_of_an_adopted_cluster_is_warned_of(cluster: Cluster) -> None:
    facts = facts_for(cluster, {"lb-1": f"{BARE}listen 192B\n"})
    assert [f.severity for f in judge(cluster, facts)] == ["refuse"]
    assert [f.severity for f in judge(cluster, facts, adopt=True)] == ["warn"]
