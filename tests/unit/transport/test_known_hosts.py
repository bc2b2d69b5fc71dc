"""Pinned host keys: read strictly, written whole."""

from __future__ import annotations

import stat
from base64 import b64encode
from pathlib import Path

import pytest

from mlops_infra.errors import ConfigError
from mlops_infra.transport.known_hosts import HostKey, read_known_hosts, same_fingerprint, write_known_hosts

BLOB = b64encode(b"\0\0\0\x0bssh-ed25519" + b"\0\0\0\x20" + b"k" * 32).decode()
KEY = HostKey("ssh-ed25519", BLOB)


def test_what_was_written_is_read_back_and_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "site" / "known_hosts"
    write_known_hosts(path, {"10.0.0.1": [KEY], "[10.0.0.2]:2222": [KEY]})
    assert read_known_hosts(path) == {"10.0.0.1": (KEY,), "[10.0.0.2]:2222": (KEY,)}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["known_hosts"]


def test_no_file_is_no_keys(tmp_path: Path) -> None:
    assert read_known_hosts(tmp_path / "none") == {}


def test_several_names_on_a_line_share_its_key_and_comments_are_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(
        f"# note\n\na,b ssh-ed25519 {BLOB} comment\n@revoked c ssh-ed25519 {BLOB}\n|1|x|y ssh-ed25519 {BLOB}\n"
    )
    assert read_known_hosts(path) == {"a": (KEY,), "b": (KEY,)}


@pytest.mark.parametrize("line", ["10.0.0.1 ssh-ed25519", "10.0.0.1 ssh-ed25519 %%%", f"10.0.0.1 ssh-rsa {BLOB}"])
def test_a_broken_line_is_an_error_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"a ssh-ed25519 {BLOB}\n{line}\n")
    with pytest.raises(ConfigError, match=":2:"):
        read_known_hosts(path)


def test_fingerprints_are_compared_without_their_prefix_and_padding() -> None:
    assert KEY.fingerprint.startswith("SHA256:")
    assert same_fingerprint(KEY.fingerprint, KEY.fingerprint.removeprefix("SHA256:") + "=")
    assert not same_fingerprint(KEY.fingerprint, "SHA256:" + "A" * 43)
