"""What bundles hold of the workstation: enough for an empty directory, the same from every operator, no way in."""

from __future__ import annotations

import base64
import io
import tarfile
from pathlib import Path

import pytest
from backup_site import Hosts, bundle_tar, open_demo, snapshot

from mlops_infra.app.backup import Steps, take_backup
from mlops_infra.app.backup_files import check_named, site_archive, site_files
from mlops_infra.app.backup_key import ensure_key, identities, key_path, recipients
from mlops_infra.app.backup_recover import recover_site
from mlops_infra.app.backup_restore import plan_restore
from mlops_infra.app.backup_stream import Encryptor
from mlops_infra.app.context import SiteContext, open_site
from mlops_infra.app.inputs import phase_context
from mlops_infra.errors import ConfigError
from mlops_infra.model.site import Site
from mlops_infra.phases.backup import backup_phase

HOST_KEY = "ssh-ed25519 " + base64.b64encode((11).to_bytes(4) + b"ssh-ed25519" + (32).to_bytes(4) + bytes(32)).decode()
OTHER_KEY = "ssh-rsa " + base64.b64encode((7).to_bytes(4) + b"ssh-rsa" + bytes(36)).decode()
FULL = f"""
monitoring:
  receivers:
    - {{name: team, slack: {{url: {{file: secrets/slack}}}}, pagerduty: {{routing_key: {{env: PAGER_KEY}}}}}}
  rules: [rules/own.yaml]
  dashboards: [boards/own.json]
mirrors: {{apt: [{{url: "http://a", key_file: keys/site.asc}}]}}
backup:
  copies:
    - name: vault
      ssh: {{address: 10.0.8.5, user: keeper, directory: /srv/b, identity: keys/vault, host_key: {HOST_KEY}}}
    - name: cloud
      s3: {{bucket: b, access_key: {{env: S3_KEY}}, secret_key: {{file: secrets/s3}}, ca_file: keys/s3-ca.crt}}
  schedule: {{enabled: true}}
"""
NAMED = {
    "secrets/slack": "https://hooks.test/x", "rules/own.yaml": "groups: []", "boards/own.json": "{}",
    "keys/site.asc": "-----BEGIN", "keys/vault": "-----BEGIN key", "secrets/s3": "hush", "keys/s3-ca.crt": "ca",
}  # fmt: skip
LOGIN = "{user: ops, identity: keys/login, sudo_password: {file: secrets/sudo}}"


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteContext:
    monkeypatch.setenv("PAGER_KEY", "pk")
    monkeypatch.setenv("S3_KEY", "ak")
    return site_in(tmp_path / "desk")


def site_in(directory: Path, more: str = FULL) -> SiteContext:
    for name, text in {**NAMED, "keys/login": "-----BEGIN login", "secrets/sudo": "su"}.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    open_demo(directory, more)
    config = directory / "cluster.yaml"
    config.write_text(config.read_text().replace("ssh: {user: ops}", f"ssh: {LOGIN}"))
    return open_site(config)


def unpacked(tar: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return {entry.name: opened.extractfile(entry).read() for entry in opened}  # type: ignore[union-attr]


def scheduled_archive(context: SiteContext) -> bytes:
    """What the phase puts onto a master."""
    phase = backup_phase(context.cluster, phase_context(context))
    (archive,) = (r for r in phase.steps[0].resources if r.id == "file:/etc/mlops-infra/backup/site.tar")
    assert (archive.mode, archive.sensitive) == (0o600, True)  # type: ignore[attr-defined]
    return bytes(archive.content)  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", ["workstation", "timer"])
def test_an_empty_directory_becomes_a_site_that_works_whichever_way_the_bundle_was_made(
    full: SiteContext, tmp_path: Path, way: str
) -> None:
    phase_context(full)
    passwords = {p.name: p.read_text() for p in full.site.secrets.iterdir()}
    assert passwords.keys() == {"lb-stats", "grafana-admin"}
    full.site.known_hosts.write_text(f"10.0.0.1 {HOST_KEY}\n")
    files = site_files(full) if way == "workstation" else unpacked(scheduled_archive(full))
    bundle = tmp_path / "b.tar.age"
    ensure_key(full.site)
    with Encryptor(bundle, recipients(full.cluster, full.site)) as encryptor:
        held = {f"cluster/{name}": content for name, content in files.items()}
        encryptor.write(bundle_tar({"etcd/snapshot.db": snapshot(), **held}))
        encryptor.finish()
    new = Site(tmp_path / "new/cluster.yaml")
    new.config.parent.mkdir()
    key = key_path(full.site)
    done = recover_site(bundle, [key], identities([key]), new)
    assert {p.stat().st_mode & 0o777 for p in done.files} == {0o600}
    assert {n: (new.config.parent / n).read_text() for n in NAMED} == NAMED
    assert not (new.config.parent / "keys/login").exists() and not (new.config.parent / "secrets/sudo").exists()
    context = open_site(new.config)
    made = phase_context(context)
    assert made.backup.secrets.keys() == {"vault/identity", "cloud/access-key", "cloud/secret-key"}
    assert made.monitoring.rules and made.monitoring.dashboards
    assert {p.name: p.read_text() for p in context.site.secrets.iterdir()} == passwords
    assert "10.0.0.1 ssh-ed25519" in context.site.known_hosts.read_text()


def test_what_a_bundle_cannot_hold_is_told_at_once_before_any_host_is_asked(
    full: SiteContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_named(full)
    monkeypatch.delenv("PAGER_KEY")
    monkeypatch.setenv("S3_KEY", "")
    (full.site.config.parent / "keys/login").unlink()
    hosts = Hosts()
    with pytest.raises(ConfigError, match="3 in all") as caught:
        plan_restore(full, hosts.transport(), Path("none"), [], Steps(lambda step: None))
    for words in ("variable PAGER_KEY  (monitoring.receivers[0]", "variable S3_KEY", "keys/login  (ssh.identity)"):
        assert words in caught.value.details
    assert hosts.asked == []


def test_parts_that_are_switched_off_need_nothing(tmp_path: Path) -> None:
    off = FULL.replace("monitoring:\n", "monitoring:\n  enabled: false\n").replace("{enabled: true}", "{}")
    context = site_in(tmp_path, off)
    (tmp_path / "rules/own.yaml").unlink()
    check_named(context)


def test_two_operators_give_the_masters_the_same_bytes(full: SiteContext, tmp_path: Path) -> None:
    other = site_in(tmp_path / "other")
    for context, lines in (
        (full, [f"10.0.0.1 {HOST_KEY}", f"10.0.0.2 {HOST_KEY}"]),
        (other, ["# mine", f"10.9.9.9 {HOST_KEY}", f"10.0.0.2 {OTHER_KEY}", f"10.0.0.2,10.0.0.1 {HOST_KEY}"]),
    ):
        context.site.secrets.mkdir(parents=True)
        (context.site.secrets / "lb-stats").write_text("p")
        context.site.known_hosts.write_text("".join(f"{line}\n" for line in lines))
    (other.site.secrets / "of-long-ago").write_text("x")
    archive = site_archive(full, ["lb-stats"])
    assert archive == site_archive(other, ["lb-stats"])
    assert unpacked(archive)["known_hosts"].decode() == f"10.0.0.1 {HOST_KEY}\n10.0.0.2 {HOST_KEY}\n"
    assert unpacked(archive)["secrets/lb-stats"] == b"p"


def test_a_bundle_of_the_workstation_holds_them_below_cluster(full: SiteContext) -> None:
    hosts = Hosts()
    take_backup(full, hosts.transport(), Steps(lambda step: None))
    sent = unpacked(hosts.asked[-1][1])
    assert {f"tree/cluster/files/{n}" for n in NAMED} < sent.keys()
    assert not any("login" in n or "sudo" in n or "backup-key" in n for n in sent)
