"""Changes of pools: who would lose an address, what is somebody else's, and what the file looks like afterwards."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlops_infra.app import metallb
from mlops_infra.app.arp import Heard, arp_question, heard
from mlops_infra.app.metallb import Wanted, prepare, refuse, wait_until_answered
from mlops_infra.app.metallb_state import (
    ADVERTISEMENTS,
    ANNOUNCED,
    PODS,
    POOLS,
    SERVICES,
    WEBHOOK,
    WEBHOOK_PODS,
    state_of,
)
from mlops_infra.core import ABSENT, CommandFact, Facts, Unknown
from mlops_infra.errors import InfraError, UnreachableError, UsageError
from mlops_infra.model.load import load_cluster
from mlops_infra.ui.console import Style
from mlops_infra.ui.metallb import change_text, state_shape, state_text

FILE = """\
name: site
ssh: {user: ops}
hosts:
  lb: [{name: lb-1, address: 10.0.0.2}]
  masters: [{name: m-1, address: 10.0.0.11}]
  workers: [{name: w-1, address: 10.0.0.21}, {name: w-2, address: 10.0.0.22}]
network: {node_cidr: 10.0.0.0/24}
metallb:   # what the router leaves free
  pool:
    - 10.0.0.100-10.0.0.110   # asked for in March
    - 10.0.0.120-10.0.0.121
"""
W1, W2, PRINTER = "02:00:00:00:00:21", "02:00:00:00:00:22", "aa:aa:aa:aa:aa:aa"


def service(name: str, *addresses: str, kind: str = "LoadBalancer") -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"type": kind, "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": a} for a in addresses]}},
    }


def pod(component: str, node: str, *, ready: bool = True) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"component": component}},
        "spec": {"nodeName": node},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def api(*services: dict[str, Any], **more: Any) -> Facts:
    pool = {"metadata": {"name": "default-pool"}, "spec": {"addresses": ["10.0.0.100-10.0.0.110"]}}
    return Facts(
        {
            SERVICES: services,
            POOLS: (pool,),
            ADVERTISEMENTS: ({"spec": {"ipAddressPools": ["default-pool"]}},),
            ANNOUNCED: ({"status": {"serviceNamespace": "shop", "serviceName": "front", "node": "w-1"}},),
            PODS: (pod("controller", "w-1"), pod("speaker", "w-1"), pod("speaker", "w-2", ready=False)),
            WEBHOOK: {"webhooks": [{"clientConfig": {"caBundle": "eA=="}}]},
            WEBHOOK_PODS: ({"endpoints": [{"conditions": {"ready": True}}]},),
            **more,
        }
    )


class FakePlatform:
    """What `prepare` asks of a platform: its file, and an engine with these answers."""

    def __init__(self, config: Path, facts: Facts, said: str) -> None:
        self.cluster = load_cluster(config).cluster
        self.context = SimpleNamespace(site=SimpleNamespace(config=config))
        self.facts, self.said = facts, said
        self.asked: list[Any] = []

    def engine_over(self, hosts: Any) -> Any:
        def observe(more: Any) -> Any:
            self.asked.append(more)
            of = Facts({question: CommandFact(0, self.said) for question in more.get("lb-1", ())})
            return SimpleNamespace(api=self.facts, of=lambda host: of)

        return nullcontext(SimpleNamespace(observe=observe))


NODES = f"net 10.0.0.2/24\nown 10.0.0.2 02:00:00:00:00:02\narp 10.0.0.21 {W1}\narp 10.0.0.22 {W2}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(FILE)
    return path


def changed(config: Path, *words: str, facts: Facts | None = None, said: str = "", **more: Any) -> metallb.PoolChange:
    platform: Any = FakePlatform(config, facts or api(service("front", "10.0.0.105")), NODES + said)
    return prepare(platform, Wanted(words, **more))


def test_what_is_waited_for_is_said_once_however_often_it_is_asked(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform: Any = FakePlatform(config, api(service("front")), NODES)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            platform.facts = api(service("front", "10.0.0.105"))
            platform.said += f"arp 10.0.0.105 {W2}\ntcp 10.0.0.105:80\n"

    monkeypatch.setattr(metallb.time, "sleep", sleep)
    told: list[str] = []
    state = wait_until_answered(platform, told.append, seconds=30)
    assert told == ["waiting: shop/front has no address yet"]
    assert [s.node for s in state.services] == ["w-2"]


def test_a_larger_range_keeps_everybody_and_every_comment(config: Path) -> None:
    change = changed(config, ".100-.115", said=f"arp 10.0.0.105 {W2}\n")
    assert not change.refusals
    assert [s.full_name for s in change.keep] == ["shop/front"]
    assert change.text == FILE.replace("100-10.0.0.110 ", "100-10.0.0.115 ").replace(
        "    - 10.0.0.120-10.0.0.121\n", ""
    )
    assert config.read_text() == FILE, "nothing is written by looking"


def test_an_address_in_use_that_would_be_lost_refuses_and_names_the_service(config: Path) -> None:
    change = changed(config, ".100-.104", said=f"arp 10.0.0.105 {W2}\n")
    assert change.refusals == ("shop/front would lose 10.0.0.105",)
    with pytest.raises(InfraError) as caught:
        refuse(change)
    assert "shop/front" in caught.value.details and "--allow-readdress" in caught.value.remedy


def test_readdressing_can_be_allowed(config: Path) -> None:
    change = changed(config, ".100-.104", allow_readdress=True)
    refuse(change)
    assert "loses      shop/front  10.0.0.105" in change_text(change, Style(False))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([".20-.30"], "w-1's address 10.0.0.21 lies in"),
        ([".2-.5"], "lb-1's address 10.0.0.2 lies in"),
        (["10.0.1.100-10.0.1.110"], "10.0.1.100-10.0.1.110 leaves the hosts' network 10.0.0.0/24"),
        (["10.96.0.0/28"], "overlaps `network.service_cidr`"),
        (["10.244.0.0/28"], "overlaps `network.pod_cidr`"),
        ([".250-.255"], "holds 10.0.0.255, the broadcast address"),
        ([".105-.108", ".106"], "overlaps"),
    ],
)
def test_a_range_that_is_somebody_elses_is_refused(config: Path, words: list[str], said: str) -> None:
    change = changed(config, *words, facts=api())
    assert any(said in refusal for refusal in change.refusals), change.refusals


def test_what_answers_arp_and_is_no_announcement_of_ours_is_refused(config: Path) -> None:
    answers = f"arp 10.0.0.101 {PRINTER}\narp 10.0.0.102 {W1}\narp 10.0.0.105 {W2}\n"
    change = changed(config, ".100-.110", said=answers)
    assert change.refusals == (
        f"10.0.0.101 is in use: {PRINTER} answers ARP for it, which is none of the nodes",
        "10.0.0.102 is in use: w-1 answers ARP for it, and no Service has it",
    )


def test_an_address_that_two_machines_answer_for_is_refused_though_one_is_ours(config: Path) -> None:
    change = changed(config, ".100-.110", said=f"arp 10.0.0.105 {W2}\narp 10.0.0.105 {PRINTER}\n")
    assert len(change.refusals) == 1 and PRINTER in change.refusals[0]


def test_a_new_pool_gets_a_name_of_its_own_and_leaves_the_first_alone(config: Path) -> None:
    change = changed(config, ".200-.203", pool="public")
    assert not change.refusals and not change.lose
    config.write_text(change.text)
    cluster = load_cluster(config).cluster
    assert dict(cluster.metallb.by_name())["public"] == ("10.0.0.200-10.0.0.203",)
    assert "asked for in March" in change.text


def test_without_an_api_nothing_is_known_and_nothing_is_changed(config: Path) -> None:
    with pytest.raises(UnreachableError):
        changed(config, ".100-.110", facts=Facts({SERVICES: Unknown("down")}))


def test_words_that_are_no_range_are_wrong_usage(config: Path) -> None:
    with pytest.raises(UsageError, match="is not a range"):
        changed(config, "hundred")


def test_more_services_than_addresses_is_said(config: Path) -> None:
    facts = api(*(service(f"s{n}") for n in range(3)))
    assert changed(config, ".100-.101", facts=facts).notes == ("2 addresses for 3 Services: 1 will wait",)


def test_the_state_says_who_announces_and_what_is_not_well() -> None:
    state = state_of(api(service("front", "10.0.0.105"), service("back"), service("inner", kind="ClusterIP")))
    shape = state_shape(state)
    assert shape["pools"] == [
        {
            "name": "default-pool",
            "ranges": ["10.0.0.100-10.0.0.110"],
            "size": 11,
            "used": 1,
            "free": 10,
            "announced": True,
        }
    ]
    assert [(s["name"], s["addresses"], s["node"], s["ports"]) for s in shape["services"]] == [
        ("back", [], "", [80]),
        ("front", ["10.0.0.105"], "w-1", [80]),
    ]
    assert shape["speakers"] == [{"node": "w-1", "ready": True}, {"node": "w-2", "ready": False}]
    assert shape["webhook"] == {"serves": True, "problem": ""}
    text = state_text(state, Style(False))
    assert "waits for one" in text and "1 of 2 ready (not: w-2)" in text


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({WEBHOOK: ABSENT}, "not there"),
        ({WEBHOOK: {"webhooks": [{"clientConfig": {}}]}}, "has no certificate yet"),
        ({WEBHOOK_PODS: ({"endpoints": [{"conditions": {"ready": False}}]},)}, "no pod stands behind it"),
    ],
)
def test_a_webhook_that_cannot_serve_says_why(more: dict[Any, Any], problem: str) -> None:
    assert state_of(api().merged(more)).webhook == problem


def test_what_the_speaker_of_a_dead_node_said_last_is_not_believed() -> None:
    said = [{"status": {"serviceNamespace": "shop", "serviceName": "front", "node": n}} for n in ("w-1", "w-2")]
    facts = api(service("front", "10.0.0.105")).merged({ANNOUNCED: tuple(said)})
    assert state_of(facts).services[0].node == "w-1", "the speaker of w-2 is not ready"


def shown(config: Path, said: str, **more: Any) -> str:
    """The node that `metallb status` names, where MetalLB itself says w-1."""
    platform: Any = FakePlatform(config, api(service("front", "10.0.0.105"), **more), said)
    (one,) = metallb.look(platform).services
    return str(one.node)


def test_who_announces_is_who_answers_arp_whatever_metallb_said_last(config: Path) -> None:
    assert shown(config, NODES + f"arp 10.0.0.105 {W1}\n") == "w-1"
    assert shown(config, NODES + f"arp 10.0.0.105 {W2}\n") == "w-2"
    assert shown(config, NODES + f"arp 10.0.0.105 {PRINTER}\n") == PRINTER
    assert shown(config, NODES) == "", "nobody answers"


def test_where_no_host_is_heard_metallbs_word_stands(config: Path) -> None:
    assert shown(config, "net 10.0.0.2/24\n") == "w-1"
    assert shown(config, "") == "w-1"


def test_without_an_address_in_use_nobody_is_asked_by_arp(config: Path) -> None:
    platform: Any = FakePlatform(config, api(service("front")), NODES)
    assert metallb.look(platform).waiting
    assert len(platform.asked) == 1


def test_an_advertisement_without_names_means_all_pools() -> None:
    assert state_of(api().merged({ADVERTISEMENTS: ({"spec": {}},)})).pools[0].announced
    selecting = ({"spec": {"ipAddressPoolSelectors": [{"matchLabels": {"a": "b"}}]}},)
    assert not state_of(api().merged({ADVERTISEMENTS: selecting})).pools[0].announced


def test_what_was_heard_is_read_and_a_failure_keeps_its_words() -> None:
    question = arp_question("10.0.0.2", ["10.0.0.105"], [("10.0.0.105", 80)])
    answer = f"net 10.0.0.2/24\nown 10.0.0.2 {W1}\narp 10.0.0.105 {W2}\ntcp 10.0.0.105:80\n"
    found = heard(Facts({question: CommandFact(0, answer)}), question)
    assert found == Heard(
        {"10.0.0.105": frozenset({W2})}, {"10.0.0.2": W1}, frozenset({("10.0.0.105", 80)}), "10.0.0.2/24"
    )
    failed = Facts({question: CommandFact(1, "no interface has 10.0.0.2\n")})
    assert heard(failed, question) == "no interface has 10.0.0.2"
