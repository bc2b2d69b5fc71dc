"""`backup restore|put-back|schedule|prune|copy` as a person calls them: words, exit codes, no harm unasked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backup_site import CA, bundle_tar, open_demo

from mlops_infra.app.backup_key import ensure_key, key_path, recipients
from mlops_infra.app.backup_stream import Encryptor
from mlops_infra.app.context import SiteContext
from mlops_infra.cli import main as cli
from mlops_infra.cli.backup_restore import caught_up
from mlops_infra.errors import ExitCode
from mlops_infra.testing import FakeTransport
from mlops_infra.transport.session import Reply
from mlops_infra.ui.output import Output

WHOLE = f"answered yes\nkubelet yes\nca {CA}\nkey yes\nmanifest yes\n".encode()


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteContext:
    monkeypatch.chdir(tmp_path)
    return open_demo(tmp_path)


@pytest.fixture
def bundle(context: SiteContext) -> Path:
    ensure_key(context.site)
    path = context.site.config.parent / "demo-20260102T030405Z.tar.age"
    with Encryptor(path, recipients(context.cluster, context.site)) as encryptor:
        encryptor.write(bundle_tar())
        encryptor.finish()
    return path


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> FakeTransport:
    """All hosts say that their data is gone; whatever else they are told is remembered."""
    made = FakeTransport(default=lambda command, stdin: Reply(0, WHOLE, ""))
    monkeypatch.setattr("mlops_infra.app.reach.transport_of", lambda context, ask=None: made)
    return made


def test_a_restore_says_what_is_lost_and_changes_nothing_without_a_yes(
    bundle: Path, hosts: FakeTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["backup", "restore", str(bundle)]) == 64, "there is no terminal to ask on"
    said = capsys.readouterr()
    assert "everything since 2026-01-02T03:04:05Z" in said.out
    assert "stop       API server, controllers, scheduler and etcd of m1, m2, m3" in said.out
    assert "Persistent volumes are not in a bundle" in said.out
    assert "--yes" in said.err
    assert {len(s.calls) for found in hosts.sessions.values() for s in found} == {1}, "asked once each, and no more"


def test_a_restore_is_of_all_masters(bundle: Path, hosts: FakeTransport, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["backup", "restore", str(bundle), "--limit", "m1"]) == 64
    assert "all masters" in capsys.readouterr().err


def test_an_empty_directory_wants_a_bundle_and_a_key(
    bundle: Path, tmp_path: Path, hosts: FakeTransport, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    desk = tmp_path / "desk"
    desk.mkdir()
    monkeypatch.chdir(desk)
    assert cli.run(["backup", "restore"]) == 64
    assert "--key FILE" in capsys.readouterr().err
    key = tmp_path / ".mlops-infra/site/backup-key.txt"
    assert cli.run(["backup", "restore", str(bundle), "--key", str(key)]) == 1
    assert "holds no cluster.yaml" in capsys.readouterr().err
    assert list(desk.iterdir()) == []


def test_put_back_wants_to_know_what(context: SiteContext, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["backup", "put-back"]) == 64
    assert cli.run(["backup", "put-back", "--all", "-n", "shop"]) == 64
    assert "--namespace NS, --object NS/KIND/NAME, or --all" in capsys.readouterr().err
    ensure_key(context.site)
    assert cli.run(["backup", "put-back", "--all"]) == 64
    assert "mlops-infra backup resources" in capsys.readouterr().err


def test_a_bundle_of_etcd_is_no_file_of_objects(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["backup", "put-back", str(bundle), "--all"]) == 1
    assert "no file of `backup resources`" in capsys.readouterr().err


def test_a_schedule_that_the_file_does_not_have_is_shown_how_to_write(
    context: SiteContext, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["backup", "schedule"]) == 64
    assert "enabled: true" in capsys.readouterr().err


def test_copies_need_places_and_pruning_says_what_is_good(
    bundle: Path, context: SiteContext, hosts: FakeTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["backup", "copy", str(bundle)]) == 64
    assert "backup.copies" in capsys.readouterr().err
    directory = context.site.directory / "backups"
    directory.mkdir()
    bundle.rename(directory / bundle.name)
    assert cli.run(["backup", "prune", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "good": bundle.name, "places": [{"place": "here", "removed": [], "kept": 1}],
    }  # fmt: skip
    assert key_path(context.site).exists()


@dataclass
class Tried:
    exit_code: ExitCode


@pytest.mark.parametrize(
    ("answers", "patience", "asked"),
    [
        ([ExitCode.DONE], 90, 1),
        ([ExitCode.CHANGES, ExitCode.DONE], 90, 2),
        ([ExitCode.CHANGES], 0, 1),
    ],
)
def test_what_sees_the_api_late_is_given_a_moment(answers: list[ExitCode], patience: float, asked: int) -> None:
    """After the third restore in a row MetalLB's controller had given a new Service no address in time."""
    left = iter(answers)
    count = 0

    def smoke() -> Any:
        nonlocal count
        count += 1
        return Tried(next(left))

    tried = caught_up(smoke, Output(as_json=True), patience=patience)
    assert (tried.exit_code, count) == (answers[-1], asked)
