"""Scheduled backups: what lies on a master, with which rights, and that switching off takes the keys away."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.app.backup_key import key_path
from mlops_infra.app.context import open_site
from mlops_infra.app.inputs import phase_context
from mlops_infra.errors import ConfigError
from mlops_infra.phases.backup import backup_phase

KIND = b"ssh-ed25519"
KEY = "ssh-ed25519 " + base64.b64encode(len(KIND).to_bytes(4) + KIND + (32).to_bytes(4) + bytes(32)).decode()
FILE = f"""
name: demo
ssh: {{user: ops}}
hosts:
  masters: [{{name: m1, address: 10.0.0.1}}, {{name: m2, address: 10.0.0.2}}, {{name: m3, address: 10.0.0.3}}]
  workers: [{{name: w1, address: 10.0.0.11}}]
lb: {{external: 10.0.0.20}}
backup:
  copies:
    - name: vault
      ssh: {{address: 10.0.8.5, port: 2222, user: keeper, directory: /srv/b, identity: id, host_key: {KEY}}}
    - name: cloud
      s3: {{endpoint: "https://s3.test/", bucket: b, prefix: site/, access_key: AK, secret_key: {{file: s3}}}}
  schedule: {{enabled: true, calendar: "*-*-* 03:30:00", delay: 10min}}
"""


def resources(tmp_path: Path, text: str = FILE) -> dict[str, Any]:
    (tmp_path / "cluster.yaml").write_text(text)
    (tmp_path / "id").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----")
    (tmp_path / "s3").write_text('a"secret\n')
    context = open_site(tmp_path / "cluster.yaml")
    phase = backup_phase(context.cluster, phase_context(context))
    assert [s.host for s in phase.steps] == ["m1", "m2", "m3"]
    return {r.id: r for r in phase.steps[0].resources}


def test_a_master_gets_public_keys_only_of_those_that_open_bundles(tmp_path: Path) -> None:
    found = resources(tmp_path)
    recipients = found["file:/etc/mlops-infra/backup/recipients"].content
    assert recipients.startswith("age1") and len(recipients.splitlines()) == 1
    private = key_path(open_site(tmp_path / "cluster.yaml").site).read_text().splitlines()[-1]
    assert private.startswith("AGE-SECRET-KEY-")
    assert not any(private in str(getattr(r, "content", "")) for r in found.values())


def test_keys_of_places_are_closed_and_never_shown(tmp_path: Path) -> None:
    found = resources(tmp_path)
    identity = found["file:/etc/mlops-infra/backup/places/vault/key"]
    curl = found["file:/etc/mlops-infra/backup/places/cloud/curl"]
    assert all((r.mode, r.sensitive) == (0o600, True) for r in (identity, curl))
    assert identity.content.endswith("-----\n")
    assert curl.content == 'user = "AK:a\\"secret"\n'
    known = found["file:/etc/mlops-infra/backup/places/vault/known_hosts"].content
    assert known == f"[10.0.8.5]:2222 {KEY}\n"
    settings = found["file:/etc/mlops-infra/backup/places/cloud/settings"].content
    assert "url=https://s3.test/b/site/\n" in settings and "secret" not in settings


def test_the_timer_makes_up_for_missed_times_and_comes_a_little_late(tmp_path: Path) -> None:
    found = resources(tmp_path)
    timer = found["file:/etc/systemd/system/mlops-infra-backup.timer"].content
    assert "OnCalendar=*-*-* 03:30:00\n" in timer
    assert "RandomizedDelaySec=10min\n" in timer and "Persistent=true\n" in timer
    script = found["file:/usr/local/lib/mlops-infra/mlops-infra-backup"].content
    assert "window=720 " in script, "two timers of one backup may be ten minutes apart"
    assert found["packages:backup"].packages.keys() == {"age", "openssh-client", "curl"}


def test_switched_off_it_is_gone_with_its_keys(tmp_path: Path) -> None:
    found = resources(tmp_path, FILE.replace("enabled: true", "enabled: false"))
    assert {type(r).__name__ for r in found.values()} == {"Missing"}
    handlers = [h.script for r in found.values() for h in r.notifies]
    assert "rm -rf /etc/mlops-infra/backup\n" in handlers


def test_a_key_that_is_not_there_is_named_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"backup.copies\[vault\]"):
        resources(tmp_path, FILE.replace("identity: id", "identity: none"))
