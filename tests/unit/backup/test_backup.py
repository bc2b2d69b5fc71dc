"""Taking a backup: whom it is taken from, what is left when it fails, and what retention removes."""

from __future__ import annotations

import base64
import io
import os
import stat
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from backup_site import CA, Hosts, bundle_tar, open_demo, status

from mlops_infra.app import backup_stream
from mlops_infra.app.backup import Backup, Steps, take_backup
from mlops_infra.app.backup_bundle import verify
from mlops_infra.app.backup_key import export_key, identities, key_path, key_state
from mlops_infra.app.backup_store import Stored, bundles, expired, new_name, staged
from mlops_infra.app.context import SiteContext
from mlops_infra.errors import ConfigError, ExitCode, InfraError, UnreachableError, UsageError
from mlops_infra.transport.errors import LinkLost, Refused

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def take(context: SiteContext, hosts: Hosts, source: str | None = None, now: datetime = NOW) -> Backup:
    return take_backup(context, hosts.transport(), Steps(lambda _: None), source=source, now=now)


def left(context: SiteContext) -> list[str]:
    directory = context.site.directory / "backups"
    return sorted(p.name for p in directory.iterdir()) if directory.exists() else []


@pytest.fixture
def context(tmp_path: Path) -> SiteContext:
    return open_demo(tmp_path)


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


def test_a_bundle_is_made_encrypted_private_and_whole(context: SiteContext, hosts: Hosts) -> None:
    done = take(context, hosts)
    assert done.bundle.name == "demo-20260102T030405Z.tar.age"
    assert stat.S_IMODE(done.bundle.stat().st_mode) == 0o600
    assert done.bundle.read_bytes().startswith(b"age-encryption.org/v1\n")
    assert b"ca.key" not in done.bundle.read_bytes()
    assert verify(done.bundle, identities([key_path(context.site)])).etcd["revision"] == 812
    assert left(context) == [done.bundle.name]
    assert set(done.seconds) == {"look", "snapshot", "check", "restore", "files", "fetch", "verify"}
    assert done.exit_code is ExitCode.DONE


@pytest.mark.parametrize(("monitoring", "more"), [(True, 2), (False, 1)])
def test_it_costs_one_exchange_a_host_and_on_the_chosen_master_the_snapshot_and_the_mark_for_monitoring(
    tmp_path: Path, hosts: Hosts, monitoring: bool, more: int
) -> None:
    context = open_demo(tmp_path, f"monitoring: {{enabled: {str(monitoring).lower()}}}\n")
    transport = hosts.transport()
    done = take_backup(context, transport, Steps(lambda _: None), now=NOW)
    assert transport.channels[done.host] == 1 + more
    assert sum(transport.channels.values()) <= 4 + more


def test_a_follower_is_preferred_and_a_master_can_be_named(context: SiteContext, hosts: Hosts) -> None:
    assert take(context, hosts).host in ("m2", "m3")
    assert take(context, hosts, source="m1").host == "m1"
    with pytest.raises(UsageError, match="no master lb-1"):
        take(context, hosts, source="lb-1")


def test_a_leader_alone_will_do_and_dead_masters_are_no_matter(context: SiteContext, hosts: Hosts) -> None:
    hosts.unreachable = {"m2": Refused("no"), "m3": Refused("no")}
    done = take(context, hosts)
    assert (done.host, done.exit_code, done.notes) == ("m1", ExitCode.DONE, ())


def test_without_a_leader_the_furthest_member_is_taken_and_it_is_said(context: SiteContext, hosts: Hosts) -> None:
    hosts.looks = {"m1": status(1, 0, 7), "m2": status(2, 0, 9), "m3": b"none\n"}
    done = take(context, hosts)
    assert done.host == "m2"
    assert "no leader" in done.notes[0]


def test_a_corrupt_member_is_never_taken(context: SiteContext, hosts: Hosts) -> None:
    hosts.looks = {"m1": b"silent\n", "m2": status(2, 1, errors=("memberID:2 alarm:CORRUPT ",)), "m3": b"silent\n"}
    with pytest.raises(InfraError, match="no master has an etcd that answers"):
        take(context, hosts)


def test_nobody_there_is_unreachable(context: SiteContext, hosts: Hosts) -> None:
    hosts.unreachable = {name: Refused("no") for name in ("m1", "m2", "m3")}
    with pytest.raises(UnreachableError) as caught:
        take(context, hosts)
    assert caught.value.exit_code == ExitCode.UNREACHABLE
    assert left(context) == []


def test_files_of_the_site_and_of_the_balancer_go_along_and_the_private_key_does_not(
    context: SiteContext, hosts: Hosts
) -> None:
    context.site.secrets.mkdir(parents=True)
    (context.site.secrets / "lb-stats").write_text("secret\n")
    take(context, hosts)
    with tarfile.open(fileobj=io.BytesIO(hosts.asked[0][1])) as tar:
        names = set(tar.getnames())
        assert names == {
            "run.sh", "tree/cluster/cluster.yaml", "tree/cluster/secrets/lb-stats",
            "tree/hosts/lb-1/etc/haproxy/haproxy.cfg",
        }  # fmt: skip
    assert b"AGE-SECRET" not in hosts.asked[0][1]


def test_a_balancer_that_does_not_answer_is_said_and_the_bundle_is_good(context: SiteContext, hosts: Hosts) -> None:
    hosts.unreachable = {"lb-1": Refused("no")}
    done = take(context, hosts)
    assert (done.missing, done.exit_code) == (("lb-1",), ExitCode.PARTLY)


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (b"@ snapshot\n! differs the live cluster has 3 keys, the restored one 2\n", "does not hold what the live"),
        (b"@ snapshot\n! bad-snapshot sha\n", "damaged"),
        (b"! space /var/lib/etcd has 1 KiB free\n", "too little space"),
        (b"! busy\n", "another backup is at work"),
        (b"", "failed on this host"),
        (b"@ snapshot\n@ fetch\n>\n" + bundle_tar()[:30000], "is damaged"),
        (b"@ fetch\n>\n" + bundle_tar(cluster="other"), "another cluster"),
    ],
)
def test_what_goes_wrong_there_is_said_and_nothing_is_left(
    context: SiteContext, hosts: Hosts, says: bytes, expected: str
) -> None:
    hosts.sends, hosts.rc = says, 3 if b">" not in says else 0
    with pytest.raises(InfraError, match=expected):
        take(context, hosts)
    assert left(context) == []


def test_a_broken_link_and_ctrl_c_leave_nothing(
    context: SiteContext, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts.error = LinkLost("gone")
    with pytest.raises(LinkLost):
        take(context, hosts)
    assert left(context) == []
    hosts.error = None

    def interrupt(step: str) -> None:
        if step == "fetch":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_backup(context, hosts.transport(), Steps(interrupt), now=NOW)
    assert left(context) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_called_one(tmp_path: Path) -> None:
    import pyrage

    recipient = pyrage.x25519.Identity.generate().to_public()
    with (
        pytest.raises(InfraError, match="no space is left"),
        backup_stream.Encryptor(Path("/dev/full"), [recipient]) as encryptor,
    ):
        for _ in range(100):
            encryptor.write(os.urandom(65536))
        encryptor.finish()


def test_what_a_killed_run_left_goes_and_what_another_is_writing_stays(tmp_path: Path) -> None:
    (tmp_path / ".backup-1-dead.part").write_bytes(b"half")
    with staged(tmp_path) as first, staged(tmp_path) as second:
        assert {p.name for p in tmp_path.iterdir()} == {first.name, second.name}
    assert list(tmp_path.iterdir()) == []


# --- keys -------------------------------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_is_private(context: SiteContext, hosts: Hosts) -> None:
    first = take(context, hosts)
    key = key_path(context.site)
    kept = key.read_text()
    assert first.key_is_new
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not take(context, hosts).key_is_new
    assert key.read_text() == kept


def test_the_key_is_unsafe_until_it_was_exported_or_there_is_another_recipient(
    context: SiteContext, hosts: Hosts, tmp_path: Path
) -> None:
    assert key_state(context.cluster, context.site).public is None
    take(context, hosts)
    assert not key_state(context.cluster, context.site).is_safe
    export_key(context.site, tmp_path / "copy.txt")
    assert (tmp_path / "copy.txt").read_text() == key_path(context.site).read_text()
    assert stat.S_IMODE((tmp_path / "copy.txt").stat().st_mode) == 0o600
    assert key_state(context.cluster, context.site).is_safe
    with pytest.raises(InfraError, match="could not be written"):
        export_key(context.site, tmp_path / "copy.txt")


def test_a_key_that_is_not_there_cannot_be_exported(context: SiteContext) -> None:
    with pytest.raises(InfraError, match="no backup key yet"):
        export_key(context.site, None)
    assert not key_state(context.cluster, context.site).is_safe


def test_recipients_of_the_file_can_open_bundles_too(tmp_path: Path, hosts: Hosts) -> None:
    import pyrage

    other = pyrage.x25519.Identity.generate()
    context = open_demo(tmp_path, f"backup: {{recipients: [{other.to_public()}]}}\n")
    done = take(context, hosts)
    assert verify(done.bundle, [other]).host == "m2"
    assert key_state(context.cluster, context.site).is_safe


@pytest.mark.parametrize("wrong", ["age1qqqq", "AGE-SECRET-KEY-1QQ", "age1" + "q" * 58])
def test_a_mistyped_recipient_is_told_before_anything_is_done(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_demo(tmp_path, f"backup: {{recipients: [{wrong}]}}\n")
    assert "backup" in caught.value.details + str(getattr(caught.value, "problems", ""))


@pytest.mark.parametrize("text", ["", "# only a comment\n", "AGE-SECRET-KEY-1BROKEN\n"])
def test_a_broken_key_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "k").write_text(text)
    with pytest.raises(ConfigError, match="holds no private key"):
        identities([tmp_path / "k"])


# --- retention --------------------------------------------------------------------------------------------------------


def stored(days_old: float, cluster: str = "demo") -> Stored:
    created = NOW - timedelta(days=days_old)
    return Stored(Path(new_name(cluster, created)), cluster, created, 1)


def test_retention_goes_by_count_and_by_age() -> None:
    found = [stored(d) for d in (0, 1, 2, 3, 100)]
    good = found[0].path
    assert expired(found, good, keep=3, keep_days=90, now=NOW) == tuple(found[3:])
    assert expired(found, good, keep=99, keep_days=90, now=NOW) == (found[4],)
    assert expired(found, good, keep=99, keep_days=1000, now=NOW) == ()


def test_the_good_one_stays_whatever_the_clock_says() -> None:
    found = [stored(-400), stored(-1), stored(500)]
    good = found[2].path
    assert good not in [b.path for b in expired(found, good, keep=1, keep_days=1, now=NOW)]


def test_old_ones_go_only_after_a_new_one_was_proved(tmp_path: Path, hosts: Hosts) -> None:
    context = open_demo(tmp_path, "backup: {keep: 2}\n")
    for day in (1, 2, 3):
        take(context, hosts, now=NOW + timedelta(days=day))
    kept = left(context)
    assert kept == ["demo-20260104T030405Z.tar.age", "demo-20260105T030405Z.tar.age"]
    hosts.sends, hosts.rc = b"! bad-restore no\n", 3
    with pytest.raises(InfraError):
        take(context, hosts, now=NOW + timedelta(days=4))
    assert left(context) == kept


def test_other_files_and_other_clusters_are_never_touched(tmp_path: Path, hosts: Hosts) -> None:
    context = open_demo(tmp_path, "backup: {keep: 1, directory: store}\n")
    store = tmp_path / "store"
    store.mkdir()
    others = ["notes.txt", "other-20200101T000000Z.tar.age", "demo-copy.tar.age"]
    for name in others:
        (store / name).write_text("x")
    (store / "demo-20200101T000000Z.tar.age").write_text("old")
    done = take(context, hosts)
    assert {p.name for p in store.iterdir()} == {*others, done.bundle.name}
    assert [b.path for b in bundles(store, "demo")] == [done.bundle]


def test_two_bundles_of_one_second_both_stay(context: SiteContext, hosts: Hosts) -> None:
    first, second = take(context, hosts), take(context, hosts)
    assert first.bundle != second.bundle
    assert first.bundle.exists()


def test_a_kubeconfig_of_another_ca_is_noted(context: SiteContext, hosts: Hosts) -> None:
    def kubeconfig(ca: bytes) -> None:
        context.site.kubeconfig.write_text(f"certificate-authority-data: {base64.b64encode(ca).decode()}\n")

    take(context, hosts)
    kubeconfig(b"the CA")
    assert CA and take(context, hosts).notes == ()
    kubeconfig(b"another CA")
    assert "another CA" in take(context, hosts).notes[0]
