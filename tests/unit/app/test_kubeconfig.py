"""The administrator's kubeconfig."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from mlops_infra.app.kubeconfig import CLUSTER_CA, is_current, point_at, store
from mlops_infra.core import Facts
from mlops_infra.errors import InfraError

CA = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
SERVER = "https://10.0.0.20:6443"
TEXT = f"""apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {base64.b64encode(CA).decode()}
    server: https://api.mlops.internal:6443
  name: kubernetes
"""


def ca(content: bytes) -> Facts:
    return Facts({CLUSTER_CA: hashlib.sha256(content).hexdigest()})


def test_the_server_becomes_the_load_balancers_address_and_nothing_else_changes() -> None:
    assert point_at(TEXT, SERVER) == TEXT.replace("https://api.mlops.internal:6443", SERVER)


def test_a_file_without_a_server_is_refused() -> None:
    with pytest.raises(InfraError, match="names no server"):
        point_at("apiVersion: v1\n", SERVER)


def test_it_is_written_for_its_owner_alone_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "site" / "kubeconfig"
    store("old", path)
    store("new", path)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_file_for_this_cluster_and_server_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    assert not is_current(path, SERVER, ca(CA)), "there is none yet"
    store(point_at(TEXT, SERVER), path)
    assert is_current(path, SERVER, ca(CA))
    assert is_current(path, SERVER, Facts()), "nobody could be asked"


def test_a_file_of_an_earlier_cluster_or_for_another_address_is_fetched_again(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    store(point_at(TEXT, SERVER), path)
    assert not is_current(path, SERVER, ca(b"another authority"))
    assert not is_current(path, "https://10.0.0.2:6443", ca(CA))
    path.write_text(path.read_text().replace("certificate-authority-data: ", "certificate-authority-data: %"))
    assert not is_current(path, SERVER, ca(CA)), "damaged"
