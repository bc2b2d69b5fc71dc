"""Copies of bundles on another host, and what retention takes away: never the last good one."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from backup_site import bundle_tar, open_demo

from mlops_infra.app.backup_bundle import BundleError
from mlops_infra.app.backup_key import ensure_key, identities, key_path, recipients
from mlops_infra.app.backup_places import copy_to_all, fingerprint, open_shelf, shelf_named
from mlops_infra.app.backup_prune import plan_pruning, prune
from mlops_infra.app.backup_stream import Encryptor
from mlops_infra.app.context import SiteContext
from mlops_infra.errors import ConfigError, UsageError
from mlops_infra.testing import FakeTransport
from mlops_infra.testing.transport import local_shell
from mlops_infra.transport.errors import TimedOut

KIND = b"ssh-ed25519"
KEY = "ssh-ed25519 " + base64.b64encode(len(KIND).to_bytes(4) + KIND + (32).to_bytes(4) + bytes(32)).decode()
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def site(tmp_path: Path, more: str = "") -> SiteContext:
    return open_demo(
        tmp_path,
        f"backup:\n  keep: 2\n  keep_days: 30\n  copies:\n    - name: vault\n      ssh:\n        address: 10.9.9.9\n"
        f"        user: keeper\n        directory: {tmp_path}/vault\n        identity: id\n"
        f"        host_key: {KEY}\n{more}",
    )


@pytest.fixture
def context(tmp_path: Path) -> SiteContext:
    return site(tmp_path)


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport(default=local_shell())


def bundle(context: SiteContext, day: int, *, broken: bool = False) -> Path:
    ensure_key(context.site)
    directory = context.site.directory / "backups"
    directory.mkdir(exist_ok=True)
    path = directory / f"demo-202602{day:02}T000000Z.tar.age"
    with Encryptor(path, recipients(context.cluster, context.site)) as encryptor:
        encryptor.write(bundle_tar())
        encryptor.finish()
    if broken:
        path.write_bytes(path.read_bytes()[:-100])
    return path


def keys(context: SiteContext) -> list[object]:
    return identities([key_path(context.site)])


def test_a_copy_lies_there_whole_under_its_name(context: SiteContext, transport: FakeTransport, tmp_path: Path) -> None:
    path = bundle(context, 20)
    (sent,) = copy_to_all(path, context, transport)
    assert sent.problem is None
    assert (tmp_path / "vault" / path.name).read_bytes() == path.read_bytes()
    assert sorted(p.name for p in (tmp_path / "vault").iterdir()) == [path.name], "nothing half-written"
    copy_to_all(path, context, transport)
    assert len(transport.sessions["copy:vault"][1].calls) == 1, "what is there already stays"


def test_what_was_fetched_is_what_was_put(context: SiteContext, transport: FakeTransport, tmp_path: Path) -> None:
    path = bundle(context, 20)
    copy_to_all(path, context, transport)
    shelf = shelf_named("vault", context, transport)
    shelf.get(path.name, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    with pytest.raises(UsageError, match="no place 'attic'"):
        shelf_named("attic", context, transport)


def test_a_place_that_is_down_keeps_no_other_from_its_copy(tmp_path: Path) -> None:
    more = (
        f"    - name: second\n      ssh:\n        address: 10.9.9.8\n        user: keeper\n"
        f"        directory: {tmp_path}/second\n        identity: id\n        host_key: {KEY}\n"
    )
    context = site(tmp_path, more)
    transport = FakeTransport(default=local_shell(), unreachable={"copy:vault": TimedOut("no answer in time")})
    sent = copy_to_all(bundle(context, 20), context, transport)
    assert [(s.place, s.problem is None) for s in sent] == [("vault", False), ("second", True)]


def test_a_disk_that_is_full_there_is_told_and_leaves_no_name(
    context: SiteContext, transport: FakeTransport, tmp_path: Path
) -> None:
    (tmp_path / "vault").write_text("a file where a directory should be")
    (sent,) = copy_to_all(bundle(context, 20), context, transport)
    assert sent.problem is not None
    assert "cannot be used" in sent.problem.brief


def test_retention_takes_the_old_ones_here_and_there(
    context: SiteContext, transport: FakeTransport, tmp_path: Path
) -> None:
    for day in (1, 10, 20, 25):
        copy_to_all(bundle(context, day), context, transport)
    (tmp_path / "vault/other-20250101T000000Z.tar.age").write_text("of another cluster")
    good, planned = plan_pruning(context, transport, keys(context), now=NOW)
    assert good.path.name == "demo-20260225T000000Z.tar.age"
    assert [(p.place, [s.path.name for s in p.gone]) for p in planned] == [
        ("here", ["demo-20260210T000000Z.tar.age", "demo-20260201T000000Z.tar.age"]),
        ("vault", ["demo-20260210T000000Z.tar.age", "demo-20260201T000000Z.tar.age"]),
    ]
    assert len(list((tmp_path / "vault").iterdir())) == 5, "planning removes nothing"
    assert all(p.problem is None for p in prune(context, transport, planned))
    assert sorted(p.name for p in (tmp_path / "vault").iterdir()) == [
        "demo-20260220T000000Z.tar.age", "demo-20260225T000000Z.tar.age", "other-20250101T000000Z.tar.age",
    ]  # fmt: skip


def test_saved_objects_are_pruned_by_themselves_and_the_newest_stays(
    context: SiteContext, transport: FakeTransport
) -> None:
    directory = bundle(context, 25).parent
    names = [f"demo-202602{day}T000000Z.objects.age" for day in (20, 21, 22)]
    for name in (*names, "other-20250101T000000Z.objects.age"):
        (directory / name).write_text("x")
    _, planned = plan_pruning(context, transport, keys(context), now=NOW)
    assert [s.path.name for s in planned[0].gone] == names[:1]
    assert planned[0].kept == 3
    prune(context, transport, planned)
    (directory / names[1]).unlink()
    _, planned = plan_pruning(context, transport, keys(context), now=NOW + timedelta(days=900))
    assert planned[0].gone == ()
    assert (directory / names[2]).exists()


def test_the_last_good_one_stays_however_old_it_is(context: SiteContext, transport: FakeTransport) -> None:
    good = bundle(context, 1)
    for day in (20, 22, 25):
        bundle(context, day, broken=True)
    found, planned = plan_pruning(context, transport, keys(context), now=NOW)
    assert found.path == good
    assert good not in {s.path for p in planned for s in p.gone}


def test_where_no_bundle_is_good_nothing_goes(context: SiteContext, transport: FakeTransport) -> None:
    for day in (1, 2, 3):
        bundle(context, day, broken=True)
    with pytest.raises(BundleError, match="nothing is removed"):
        plan_pruning(context, transport, keys(context), now=NOW)


def test_a_secret_that_is_not_there_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    context = open_demo(
        tmp_path,
        "backup:\n  copies:\n    - name: cloud\n      s3: {bucket: b, access_key: {env: NO_SUCH_NAME}, "
        "secret_key: {file: none}}\n",
    )
    with pytest.raises(ConfigError, match="NO_SUCH_NAME"):
        open_shelf(context.cluster.backup.copies[0], context, FakeTransport())


def test_the_host_key_of_the_file_is_the_one_that_is_demanded(tmp_path: Path) -> None:
    assert fingerprint(KEY).startswith("SHA256:") and "=" not in fingerprint(KEY)
    with pytest.raises(ConfigError):
        open_demo(tmp_path, "backup: {copies: [{name: a, ssh: {address: h, user: u, directory: /d, identity: i, "
                            "host_key: SHA256:abc}}]}\n")  # fmt: skip
    with pytest.raises(ConfigError):
        open_demo(tmp_path, "backup: {copies: [{name: a}]}\n")
