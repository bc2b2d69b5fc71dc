"""What the operator's own machine knows: the backups there, and whether their key is anywhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sick import Platform, cluster_of

from mlops_infra.app.backup_key import ensure_key, export_key
from mlops_infra.app.doctor import local_of
from mlops_infra.model.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "cluster.yaml")


def local(site: Site, **more: Any) -> Any:
    context = SimpleNamespace(site=site, warnings=())
    return local_of(SimpleNamespace(cluster=cluster_of(**more), context=context))  # type: ignore[arg-type]


def test_a_key_that_was_made_and_never_exported_is_reminded_of(site: Site, tmp_path: Path) -> None:
    assert local(site).lone_key == "", "nothing was encrypted yet"
    ensure_key(site)
    assert local(site).lone_key == str(site.directory / "backup-key.txt")
    export_key(site, tmp_path / "copy.txt")
    assert local(site).lone_key == ""


def test_a_second_recipient_is_as_good_as_a_copy(site: Site) -> None:
    from pyrage import x25519

    ensure_key(site)
    other = str(x25519.Identity.generate().to_public())
    assert local(site, backup={"recipients": [other]}).lone_key == ""


def test_the_reminder_is_advice_and_names_the_file_and_the_command(sick: Platform) -> None:
    sick.local = replace(sick.local, lone_key="/x/backup-key.txt")
    assert sick.findings == ()
    (one,) = (a for a in sick.diagnosis().advice if a.check == "backup.key")
    assert "/x/backup-key.txt" in one.finding.brief
    assert "mlops-infra backup key export" in one.finding.remedy
    assert sick.diagnosis().exit_code == 0
