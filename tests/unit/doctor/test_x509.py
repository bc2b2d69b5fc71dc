"""The end of a certificate, as openssl writes it and as RFC 5280 allows."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sick import end_of as told

from mlops_infra.doctor.x509 import end_of, names_of


@pytest.mark.parametrize("days", [1, 3650, 36500])
def test_what_openssl_makes_is_read_as_openssl_reads_it_in_der_and_in_pem(days: int, tmp_path: Path) -> None:
    pem, key = tmp_path / "a.crt", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made = ["openssl", "req", "-x509", *key, "-subj", "/O=x/CN=y", "-keyout", tmp_path / "a.key", "-out", pem]
    subprocess.run([*made, "-days", str(days)], check=True, capture_output=True)
    said = subprocess.run(
        ["openssl", "x509", "-noout", "-enddate", "-in", pem], capture_output=True, text=True, check=True
    )
    wanted = datetime.strptime(said.stdout.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    text = pem.read_text()
    assert end_of("".join(text.splitlines()[1:-1])) == wanted
    assert end_of(b64encode(text.encode()).decode()) == wanted


def test_names_and_addresses_are_read_as_openssl_puts_them_in(tmp_path: Path) -> None:
    pem = tmp_path / "a.crt"
    names = "subjectAltName=DNS:API.example.org,IP:10.0.0.1,IP:2001:db8::1,email:a@b.c," + ",".join(
        f"DNS:a-rather-long-name-{n}.example.org" for n in range(9)
    )
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", tmp_path / "a.key"]
    made = ["openssl", "req", "-x509", *key, "-subj", "/CN=y", "-addext", names, "-out", pem]
    subprocess.run(made, check=True, capture_output=True)
    found = names_of("".join(pem.read_text().splitlines()[1:-1]))
    assert {"api.example.org", "10.0.0.1", "2001:db8::1"} <= found
    assert len(found) == 12


def test_a_certificate_without_names_has_none() -> None:
    assert names_of(told(datetime(2030, 1, 1, tzinfo=UTC))) == frozenset()


def test_a_two_digit_year_from_50_on_is_of_the_last_century() -> None:
    assert end_of(told(datetime(2049, 5, 6, tzinfo=UTC))) == datetime(2049, 5, 6, tzinfo=UTC)
    assert end_of(told(datetime(1999, 5, 6, tzinfo=UTC))) == datetime(1999, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["", "bad", "AAAA", "MA==", "MAA=", told(datetime(2030, 1, 1, tzinfo=UTC))[:40], b64encode(b"no PEM").decode()],
)
def test_what_is_no_certificate_is_a_value_error_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError):
        end_of(text)
