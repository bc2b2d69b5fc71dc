"""What must never leave a batch's output, and what must stay readable."""

from __future__ import annotations

import pytest

from mlops_infra.engine.redact import redact

KEY = "ab" * 32


@pytest.mark.parametrize(
    "text",
    [
        "kubeadm join 10.0.0.1:6443 --token abcdef.0123456789abcdef",
        f"  --certificate-key {KEY}",
        f"Using certificate key:\n{KEY}\n",
        "-----BEGIN RSA PRIVATE KEY-----\nhush\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nhush, cut off",
        'password="hush"',
        "stats_password: hush",
        "MYSQL-PASSWORD=hush",
        "//registry.example.org/:_password=hush",
        "Authorization: Bearer hush",
        "authorization: hush",
        "client-key-data: hush==",
        "https://user:hush@example.org/x",
        "token eyJhbGciOiJSUzI1.eyJpc3MiOiJrdWJl.c2lnbmF0dXJl",
        '{"token": "hush"}',
    ],
)
def test_a_secret_is_masked(text: str) -> None:
    said = redact(text)
    assert "********" in said
    assert not any(word in said for word in ("hush", KEY, "0123456789abcdef", "eyJ"))


@pytest.mark.parametrize(
    "text",
    [
        f"--discovery-token-ca-cert-hash sha256:{KEY}",
        f"sha256 is {KEY}, wanted {KEY}",
        "Job for kubelet.service failed because the control process exited with error code.",
        "E: Version '9.9.9-*' for 'kubelet' was not found",
        "https://10.0.0.1:6443/readyz",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "a mention of passwords and tokens",
    ],
)
def test_what_is_public_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("end", ["token=hush", "x://user:hush@example.org"])
def test_a_line_of_a_megabyte_is_read_once(end: str) -> None:
    """Read again from each of its words it would never end."""
    said = redact("token-" * 170_000 + end)
    assert len(said) > 1_000_000
    assert "********" in said
    assert "hush" not in said
