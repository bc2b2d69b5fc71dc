"""Targets from cluster.yaml: a host's own settings win, paths start beside the file."""

from __future__ import annotations

from pathlib import Path

from mlops_infra.app.reach import targets
from mlops_infra.model.cluster import Cluster

CLUSTER = Cluster.model_validate(
    {
        "name": "demo",
        "ssh": {"user": "ops", "port": 2222, "identity": "keys/id", "bastion": {"address": "10.0.0.9"}},
        "hosts": {
            "masters": [
                {"name": "m1", "address": "10.0.0.1"},
                {"name": "m2", "address": "10.0.0.2", "ssh": {"user": "root", "port": 22, "identity": "/abs/id"}},
            ]
        },
    }
)


def test_hosts_take_what_the_section_says_and_their_own_where_they_say_more() -> None:
    found = targets(CLUSTER, Path("/site"))
    assert list(found) == ["m1", "m2"]
    assert (found["m1"].user, found["m1"].port, found["m1"].identity) == ("ops", 2222, Path("/site/keys/id"))
    assert (found["m2"].user, found["m2"].port, found["m2"].identity) == ("root", 22, Path("/abs/id"))


def test_the_bastion_logs_in_as_the_hosts_do_and_is_shared() -> None:
    found = targets(CLUSTER, Path("/site"))
    bastion = found["m1"].bastion
    assert bastion is found["m2"].bastion
    assert bastion is not None
    assert (bastion.address, bastion.port, bastion.user) == ("10.0.0.9", 22, "ops")


def test_keys_are_kept_under_the_name_that_openssh_gives_them() -> None:
    found = targets(CLUSTER, Path("/site"))
    assert found["m1"].key_name == "[10.0.0.1]:2222"
    assert found["m2"].key_name == "10.0.0.2"
