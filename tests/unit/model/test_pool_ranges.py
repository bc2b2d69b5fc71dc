"""Ranges as people write them."""

import pytest

from mlops_infra.model.pool_ranges import addresses_in, completed, count, written

NETWORK = "10.110.190.0/24"


@pytest.mark.parametrize(
    ("words", "ranges"),
    [
        (["10.110.190.100-110"], ["10.110.190.100-10.110.190.110"]),
        (["10.110.190.100-.110"], ["10.110.190.100-10.110.190.110"]),
        ([".100-.110"], ["10.110.190.100-10.110.190.110"]),
        ([".100-110", ".120"], ["10.110.190.100-10.110.190.110", "10.110.190.120-10.110.190.120"]),
        ([".100-.110,.120-.121"], ["10.110.190.100-10.110.190.110", "10.110.190.120-10.110.190.121"]),
        (["10.110.190.96/30"], ["10.110.190.96-10.110.190.99"]),
        (["10.110.190.250-191.3"], ["10.110.190.250-10.110.191.3"]),
        (["10.110.190.100-10.110.190.110"], ["10.110.190.100-10.110.190.110"]),
        (["fd00::10-fd00::1f"], ["fd00::10-fd00::1f"]),
    ],
)
def test_a_range_is_completed_from_its_beginning_and_from_the_hosts_network(
    words: list[str], ranges: list[str]
) -> None:
    assert [written(one) for one in completed(words, NETWORK)] == ranges


@pytest.mark.parametrize(
    ("words", "network", "said"),
    [
        ([".100-.110"], None, "no `network.node_cidr`"),
        (["10.110.190.110-100"], NETWORK, "ends before it begins"),
        (["ten"], NETWORK, "`ten` is not a range"),
        (["10.110.190.1/24"], NETWORK, "is not a network"),
        (["10.110.190.300-310"], NETWORK, "is not a range"),
        ([], NETWORK, "no range is named"),
    ],
)
def test_what_is_no_range_is_said_in_a_sentence(words: list[str], network: str | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        completed(words, network)


def test_addresses_of_a_range_are_counted_and_listed_up_to_a_limit() -> None:
    (one,) = completed([".254-191.1"], "10.110.190.0/23")
    assert count(one) == 4
    assert addresses_in(one, 3) == ["10.110.190.254", "10.110.190.255", "10.110.191.0"]
