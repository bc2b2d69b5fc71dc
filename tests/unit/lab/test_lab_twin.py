"""The twin of a cluster.yaml is a pure function of the model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlops_infra.lab.errors import LabError
from mlops_infra.lab.paths import namespace_of, veth_of
from mlops_infra.lab.twin import Twin, make_twin
from mlops_infra.model.cluster import Cluster


def cluster(**more: Any) -> Cluster:
    data: dict[str, Any] = {
        "name": "demo",
        "ssh": {"user": "ubuntu"},
        "hosts": {
            "lb": [{"name": "lb-1", "address": "10.7.0.21"}],
            "masters": [{"name": "master-1", "address": "10.7.0.22"}],
            "workers": [{"name": "worker-1", "address": "10.7.0.25"}, {"name": "worker-2", "address": "10.7.0.26"}],
        },
    }
    return Cluster.model_validate({**data, **more})


def test_every_host_of_the_file_has_a_twin_with_its_name_and_address() -> None:
    twin = make_twin(cluster())
    assert [(h.name, h.addresses, h.gateway) for h in twin.hosts] == [
        ("lb-1", ("10.7.0.21/24",), "10.7.0.1"),
        ("master-1", ("10.7.0.22/24",), "10.7.0.1"),
        ("worker-1", ("10.7.0.25/24",), "10.7.0.1"),
        ("worker-2", ("10.7.0.26/24",), "10.7.0.1"),
    ]
    assert twin.bridge == ("10.7.0.1/24",)


def test_the_node_network_decides_the_prefix_when_it_is_named() -> None:
    twin = make_twin(cluster(network={"node_cidr": "10.7.0.0/16"}))
    assert twin.bridge == ("10.7.0.1/16",)
    assert {h.addresses[0].partition("/")[2] for h in twin.hosts} == {"16"}


def test_only_the_last_worker_runs_debian_12_unless_told_otherwise() -> None:
    def releases(names: list[str] | None) -> dict[str, str]:
        return {h.name: h.codename for h in make_twin(cluster(), debian12=names).hosts if h.is_debian12}

    assert releases(None) == {"worker-2": "bookworm"}
    assert releases([]) == {}
    assert releases(["lb-1", "worker-1"]) == {"lb-1": "bookworm", "worker-1": "bookworm"}


def test_debian_12_for_a_host_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(LabError, match="--debian12 worker-9") as caught:
        make_twin(cluster(), debian12=["worker-9"])
    assert "worker-1" in caught.value.cause


def test_the_bridge_steps_aside_for_a_host_that_has_the_first_address() -> None:
    hosts = {"masters": [{"name": "m", "address": "10.7.0.1"}]}
    assert make_twin(cluster(hosts=hosts)).bridge == ("10.7.0.2/24",)


def test_an_internal_address_in_another_network_is_a_second_address_and_a_second_bridge_address() -> None:
    hosts = {"masters": [{"name": "m", "address": "10.7.0.5", "internal_address": "192.168.9.5", "interface": "ens18"}]}
    twin = make_twin(cluster(hosts=hosts))
    assert twin.bridge == ("10.7.0.1/24", "192.168.9.1/24")
    assert twin.hosts[0].addresses == ("10.7.0.5/24", "192.168.9.5/24")
    assert twin.hosts[0].interface == "ens18"


def test_ssh_user_and_port_of_a_single_host_win_over_the_section() -> None:
    hosts = {"masters": [{"name": "m", "address": "10.7.0.5", "ssh": {"user": "admin", "port": 2222}}]}
    one = make_twin(cluster(hosts=hosts)).hosts[0]
    assert (one.ssh_user, one.ssh_port) == ("admin", 2222)


def test_a_name_instead_of_an_address_is_refused_with_the_host() -> None:
    with pytest.raises(LabError, match="not an IPv4 address") as caught:
        make_twin(cluster(hosts={"masters": [{"name": "m", "address": "m.example.org"}]}))
    assert caught.value.host == "m"


def test_two_hosts_with_one_address_are_refused() -> None:
    twice = [{"name": "a", "address": "10.7.0.5"}, {"name": "b", "address": "10.7.0.5"}]
    with pytest.raises(LabError, match="b and a both have"):
        make_twin(cluster(hosts={"masters": twice}))


def test_a_twin_survives_the_way_through_json() -> None:
    twin = make_twin(cluster())
    assert Twin.from_data(json.loads(json.dumps(twin.as_data()))) == twin


def test_an_unknown_host_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(LabError, match="no host nope") as caught:
        make_twin(cluster()).host("nope")
    assert "lb-1, master-1" in caught.value.cause


@pytest.mark.parametrize(
    ("name", "link"), [("master-1", "v-master-1"), ("a" * 13, "v-" + "a" * 13), ("worker-in-the-cellar-7", None)]
)
def test_a_link_name_is_plain_while_linux_allows_it_and_never_longer(name: str, link: str | None) -> None:
    assert len(veth_of(name)) <= 15
    if link:
        assert veth_of(name) == link


def test_long_names_that_begin_alike_get_different_links() -> None:
    names = [f"gpu-worker-number-{n}" for n in range(200)]
    assert len({veth_of(name) for name in names}) == 200
    assert namespace_of("master-1") == "lab-master-1"
