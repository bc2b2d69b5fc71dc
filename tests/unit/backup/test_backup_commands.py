"""`backup list|show|verify|key` as a person calls them: exit codes, words and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from backup_site import Hosts, open_demo

from mlops_infra.app.backup import Steps, take_backup
from mlops_infra.cli import main as cli
from mlops_infra.ui.backup import versions_text


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    context = open_demo(tmp_path)
    monkeypatch.chdir(tmp_path)
    return take_backup(context, Hosts().transport(), Steps(lambda _: None)).bundle


def said(capsys: pytest.CaptureFixture[str], *line: str, code: int = 0) -> dict[str, Any]:
    assert cli.run([*line, "--json"]) == code
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_the_bundle_is_listed_shown_and_verified(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (listed,) = said(capsys, "backup", "list")["backups"]
    assert (listed["bundle"], listed["cluster"], listed["etcd"]["live_keys"]) == (str(bundle), "demo", 333)
    shown = said(capsys, "backup", "show", bundle.name)
    assert {f["path"] for f in shown["files"]} >= {"etcd/snapshot.db"}
    assert said(capsys, "backup", "verify")["ok"] is True
    assert cli.run(["backup", "verify", str(bundle)]) == 0
    assert "every byte is what was put in" in capsys.readouterr().out


def test_saved_objects_are_listed_apart_from_bundles(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = bundle.parent / "demo-20260102T030405Z.objects.age"
    saved.write_text("x")
    listed = said(capsys, "backup", "list")
    assert [o["file"] for o in listed["objects"]] == [str(saved)]
    assert [b["bundle"] for b in listed["backups"]] == [str(bundle)]
    bundle.unlink()
    assert cli.run(["backup", "list"]) == 0
    assert saved.name in capsys.readouterr().out


def test_a_damaged_bundle_exits_1_and_the_list_goes_on(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bundle.read_bytes()
    bundle.write_bytes(content[:100] + b"!" + content[101:])
    assert "error" in said(capsys, "backup", "verify", code=1)
    (listed,) = said(capsys, "backup", "list")["backups"]
    assert "error" in listed


def test_a_name_that_is_not_there_is_answered_with_those_that_are(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["backup", "verify", "nothing"]) == 64
    assert bundle.name in capsys.readouterr().err
    bundle.unlink()
    assert cli.run(["backup", "verify"]) == 1
    assert "mlops-infra backup etcd" in capsys.readouterr().err
    assert cli.run(["backup", "list"]) == 0
    assert "No backups" in capsys.readouterr().out


def test_the_key_is_shown_as_unsafe_until_it_was_exported(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "backup", "key", "path")["safe"] is False
    assert cli.run(["backup", "key", "path"]) == 0
    shown = capsys.readouterr().out
    assert "keep it elsewhere" in shown
    assert "AGE-SECRET-KEY" not in shown
    assert cli.run(["backup", "key", "export"]) == 0
    assert "AGE-SECRET-KEY-1" in capsys.readouterr().out
    assert said(capsys, "backup", "key", "path")["safe"] is True
    (tmp_path / "other").write_text(bundle.parent.parent.joinpath("backup-key.txt").read_text())
    assert said(capsys, "backup", "verify", "--key", str(tmp_path / "other"))["ok"] is True


def test_versions_are_said_without_module_paths_and_commits() -> None:
    said = {
        "kubelet": "Kubernetes v1.31.4", "containerd": "containerd github.com/containerd/containerd v1.7.27 05044ec",
        "kernel": "6.1.0", "os": "",
    }  # fmt: skip
    assert versions_text(said) == "Kubernetes v1.31.4, containerd v1.7.27, Linux 6.1.0"
