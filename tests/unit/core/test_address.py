"""Addresses as URLs have them."""

from __future__ import annotations

import pytest

from mlops_infra.core import https_url


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("10.0.0.1", "https://10.0.0.1:6443"),
        ("k8s.example.org", "https://k8s.example.org:6443"),
        ("2001:db8::1", "https://[2001:db8::1]:6443"),
    ],
)
def test_only_ipv6_stands_in_brackets_before_a_port(address: str, said: str) -> None:
    assert https_url(address, 6443) == said
