"""The firewall's rules from the port matrix, and the two steps that put them there."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_infra.core import CommandFact, Facts, PutFile, StepId
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.catalogue import phases_for
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.firewall import (
    _STATE,
    RulesKept,
    RulesTried,
    firewall_kept_phase,
    firewall_phase,
    rules,
)
from mlops_infra.resources import Missing

ON = {"firewall": True}


def guards(text: str) -> dict[str, str]:
    """Ports by protocol → the chain that decides about them."""
    found = re.findall(r"(tcp|udp) dport \{ ([\d, -]+) \} goto (only_\w+)", text)
    return {f"{protocol} {port}": chain for protocol, ports, chain in found for port in ports.split(", ")}


def elements(text: str, name: str) -> list[str]:
    found = re.search(rf"set {name} \{{[^}}]*?(?:elements = \{{ ([^}}]*) \}}\s*)?\n  \}}", text)
    assert found is not None
    return found[1].split(", ") if found[1] else []


def test_etcd_is_for_masters_and_kubelets_are_for_nodes_and_pods(make: Callable[..., Cluster]) -> None:
    cluster = make(security=ON)
    text = rules(cluster, cluster.hosts.masters[0])
    said = guards(text)
    assert said["tcp 2379"] == said["tcp 2380"] == "only_masters"
    assert said["tcp 10250"] == said["tcp 10257"] == said["tcp 2381"] == "only_nodes_pods"
    assert said["udp 8472"] == said["udp 7946"] == "only_nodes"
    assert elements(text, "masters4") == ["10.0.0.11", "10.0.0.12", "10.0.0.13"]
    assert "10.0.0.1" in elements(text, "hosts4")
    assert "10.0.0.1" not in elements(text, "nodes4")


def test_node_ports_are_for_the_platforms_hosts_and_a_worker_has_no_etcd(make: Callable[..., Cluster]) -> None:
    cluster = make(security=ON)
    said = guards(rules(cluster, cluster.hosts.workers[0]))
    assert said["tcp 30000-32767"] == said["udp 30000-32767"] == "only_hosts_pods"
    assert not {"tcp 2379", "tcp 2381"} & set(said)


def test_a_load_balancer_guards_its_statistics_and_nothing_that_it_is_there_for(make: Callable[..., Cluster]) -> None:
    cluster = make(security=ON)
    said = guards(rules(cluster, cluster.hosts.lb[0]))
    assert set(said) == {"tcp 8404", "tcp 9100"}


@pytest.mark.parametrize("role", ["lb", "masters", "workers"])
def test_ssh_the_api_and_ingress_are_never_guarded(make: Callable[..., Cluster], role: str) -> None:
    cluster = make(security=ON)
    said = guards(rules(cluster, getattr(cluster.hosts, role)[0]))
    assert not {"tcp 22", "tcp 6443", "tcp 80", "tcp 443"} & set(said)


def test_both_addresses_of_a_host_a_vip_and_networks_of_the_file_are_let_in(make: Callable[..., Cluster]) -> None:
    hosts = {
        "lb": [{"name": "l", "address": "10.0.0.1"}],
        "masters": [{"name": "m", "address": "192.0.2.5", "internal_address": "10.0.0.2"}],
        "workers": [{"name": "w", "address": "w.example.org", "internal_address": "10.0.0.3"}],
    }
    vip = {"vip": {"address": "10.0.0.99", "interface": "eth0"}}
    cluster = make(hosts=hosts, lb=vip, security={**ON, "allow_from": ["198.51.100.0/24", "2001:db8::/32"]})
    text = rules(cluster, cluster.hosts.workers[0])
    assert elements(text, "hosts4") == ["10.0.0.1", "10.0.0.2", "192.0.2.5", "10.0.0.3", "10.0.0.99"]
    assert elements(text, "operators4") == ["198.51.100.0/24"]
    assert elements(text, "operators6") == ["2001:db8::/32"]


def test_with_another_network_than_flannel_pods_are_known_by_their_address_alone(make: Callable[..., Cluster]) -> None:
    cluster = make(security=ON, network={"cni": "none"})
    text = rules(cluster, cluster.hosts.workers[0])
    assert "iifname" not in text
    assert "ip saddr 10.244.0.0/16 accept" in text
    assert "udp 8472" not in guards(text)


@pytest.mark.parametrize("role", ["lb", "masters", "workers"])
@pytest.mark.parametrize("more", [{}, {"allow_from": ["198.51.100.0/24", "10.0.0.0/8", "2001:db8::/32"]}])
def test_nftables_itself_takes_the_rules(
    make: Callable[..., Cluster], tmp_path: Path, role: str, more: dict[str, object]
) -> None:
    if shutil.which("nft") is None or os.geteuid() != 0:
        pytest.skip("needs nft and root")
    cluster = make(security={**ON, **more})
    path = tmp_path / "rules.nft"
    path.write_text(rules(cluster, getattr(cluster.hosts, role)[0]))
    # Twice, and once more after being loaded, in a network namespace that lives as long as this command.
    load = f"nft -c -f {path} && nft -f {path} && nft -f {path} && nft -s list table inet mlops_infra"
    done = subprocess.run(["unshare", "-n", "sh", "-c", load], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "policy accept" in done.stdout


# --- steps --------------------------------------------------------------------------------------------------------


def state(*lines: str) -> Facts:
    return Facts({_STATE: CommandFact(0, "\n".join(lines))})


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_rules_are_tried_and_only_then_kept() -> None:
    tried, kept = RulesTried("new"), RulesKept("new")
    never = Facts({_STATE: CommandFact(3, "")})
    change = tried.diff(never)
    assert change is not None
    assert change.reason == "not there yet"
    put, _ = change.actions
    assert isinstance(put, PutFile)
    assert put.path.startswith("/run/"), "what is on trial does not outlive a reboot"
    assert put.check == "nft -c -f {}"
    assert kept.diff(never) is not None, "the plan says so from the beginning"
    on_trial = state(f"trial {digest('new')}", "loaded yes")
    assert tried.diff(on_trial) is None
    assert kept.diff(on_trial) is not None
    done = state(f"kept {digest('new')}", "loaded yes")
    assert tried.diff(done) is None
    assert kept.diff(done) is None


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ((f"kept {digest('old')}", "loaded yes"), "other rules"),
        ((f"kept {digest('new')}", "loaded no"), "in the kernel"),
        ((f"kept {digest('new')}", "loaded yes", "outside 192.0.2.7"), "192.0.2.7"),
    ],
)
def test_what_moved_is_tried_anew_and_the_plan_says_why(lines: tuple[str, ...], why: str) -> None:
    change = RulesTried("new").diff(state(*lines))
    assert change is not None
    assert why in change.reason
    assert RulesKept("new").diff(state(*lines)) is not None


def test_the_second_step_knocks_and_comes_after_the_first(make: Callable[..., Cluster], context: PhaseContext) -> None:
    cluster = make(security=ON)
    tried = {s.id: s for s in firewall_phase(cluster, context).steps}
    for step in firewall_kept_phase(cluster, context).steps:
        assert step.knocks
        assert step.needs == {StepId("firewall", step.host)}
    assert len(tried) == len(cluster.all_hosts)
    assert StepId("control-plane", "master-2") in tried[StepId("firewall", "master-2")].after


def test_it_is_off_unless_asked_for_and_then_only_takes_itself_away(cluster: Cluster, context: PhaseContext) -> None:
    assert firewall_kept_phase(cluster, context).steps == ()
    resources = [r for step in firewall_phase(cluster, context).steps for r in step.resources]
    assert resources
    assert all(isinstance(r, Missing) for r in resources)


def test_it_comes_after_all_that_it_could_stop(make: Callable[..., Cluster], context: PhaseContext) -> None:
    names = [phase.name for phase in phases_for(make(security=ON), context)]
    assert names.index("firewall") > names.index("ingress")
    assert names.index("firewall-kept") == names.index("firewall") + 1
