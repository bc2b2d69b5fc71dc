"""Backups as the doctor sees them: bundles of this machine, and the schedule on the masters."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

from sick import NOW, Platform, cluster_of

from mlops_infra.doctor import scripts
from mlops_infra.doctor.backups import newest_backup
from mlops_infra.doctor.view import Backup, Local
from mlops_infra.phases.host_exporters import TEXTFILES

SUCCESS, FAILURE = "last_success_timestamp_seconds", "last_failure_timestamp_seconds"


def told(word: str, hours: float) -> str:
    return f"{word} {int((NOW - timedelta(hours=hours)).timestamp())}"


def scheduled(*, local: float | None = None, **told_by: tuple[str, ...]) -> Platform:
    """With a nightly schedule, what masters tell, and a bundle here that is that many hours old."""
    made = Platform(cluster=cluster_of(backup={"schedule": {"enabled": True}}))
    made.local = Local(backups=(Backup("b", NOW - timedelta(hours=local)),) if local is not None else ())
    for host, lines in told_by.items():
        made.of_master(host, "backup", *lines)
    return made


def advice(made: Platform) -> set[str]:
    return {a.check for a in made.diagnosis().advice}


def test_a_schedule_that_works_needs_no_bundle_on_this_machine() -> None:
    made = scheduled(m2=(told(SUCCESS, 20),), m3=(told(SUCCESS, 44), told(FAILURE, 30)))
    assert made.findings == ()
    assert "backup.none" not in advice(made)
    newest = newest_backup(made.view)
    assert newest is not None
    assert newest.path == "/var/lib/mlops-infra/backups on m2"


def test_a_schedule_that_stopped_is_told_with_its_last_failure() -> None:
    made = scheduled(m2=(told(SUCCESS, 60), told(FAILURE, 12)))
    made.of_master("m2", "backup-log", "backup: no snapshot was kept")
    finding = made.only.finding
    assert made.only.check == "backup.age"
    assert finding.brief.startswith(
        "the schedule makes no backups: the last one is 2 days old; it failed at 2026-11-23"
    )
    assert "no snapshot was kept" in finding.evidence
    assert finding.remedy == (
        "mlops-infra hosts exec --limit m2 -- /usr/local/lib/mlops-infra/mlops-infra-backup --now"
    )


def test_a_bundle_made_by_hand_covers_for_a_schedule_that_failed() -> None:
    assert scheduled(local=3, m2=(told(SUCCESS, 60), told(FAILURE, 12))).findings == ()


def test_a_schedule_that_only_ever_failed_is_no_standing_advice() -> None:
    made = scheduled(m1=(told(FAILURE, 2),))
    assert "there has never been one" in made.only.finding.brief
    assert "backup.none" not in advice(made)


def test_a_schedule_that_has_not_run_yet_is_waited_for() -> None:
    made = scheduled()
    assert made.findings == ()
    assert "backup.none" in advice(made)


def test_copies_that_the_last_backup_lacks_are_told_and_those_of_earlier_ones_are_not() -> None:
    lacking = (told(SUCCESS, 10), "missing_copies 2")
    assert "lacks 2 of its copies" in scheduled(m2=lacking).only.finding.brief
    assert scheduled(m2=lacking, m3=(told(SUCCESS, 2), "missing_copies 0")).findings == ()


def test_the_age_that_is_allowed_is_that_of_the_alert(sick: Platform) -> None:
    sick.local = Local(backups=(Backup("b", NOW - timedelta(hours=40)),))
    assert (sick.only.check, sick.only.finding.brief) == ("backup.age", "the last backup is 40 hours old")
    weekly = Platform(cluster=cluster_of(monitoring={"enabled": False, "backup_max_age": "8d"}))
    weekly.local = sick.local
    assert weekly.findings == ()


def test_a_backup_of_another_workstation_is_one_and_ones_own_has_a_path(sick: Platform) -> None:
    own = NOW - timedelta(hours=5)
    sick.local = Local(backups=(Backup("b", own),))
    sick.of_master("m1", "backup", told(SUCCESS, 4.9))
    assert newest_backup(sick.view) == Backup("b", own)
    sick.of_master("m1", "backup", told(SUCCESS, 2))
    assert newest_backup(sick.view) == Backup("as m1 tells", NOW - timedelta(hours=2))


def test_backups_that_lie_in_one_place_are_advice(sick: Platform) -> None:
    (one,) = (a for a in sick.diagnosis().advice if a.check == "backup.local")
    assert one.finding.brief == "backups lie on this machine alone"
    (one,) = (a for a in scheduled(local=1).diagnosis().advice if a.check == "backup.local")
    assert one.finding.brief == "backups lie on the masters and on this machine alone"


def test_the_script_reads_what_the_timer_left(tmp_path: Path) -> None:
    for word, value in ((SUCCESS, 1795933694), ("missing_copies", 1)):
        text = f"# HELP mlops_infra_backup_{word} x\n# TYPE mlops_infra_backup_{word} gauge\n"
        (tmp_path / f"backup-{word}.prom").write_text(f"{text}mlops_infra_backup_{word} {value}\n")
    script = scripts.control_plane(cluster_of().hosts.masters[0]).replace(TEXTFILES, str(tmp_path))
    begin = script.index("b=$(sed")
    part = script[begin : script.index("cd /etc/kubernetes/manifests", begin)]
    done = subprocess.run(["sh", "-c", scripts._TAB + part], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[:2] == [f"backup\t{SUCCESS} 1795933694", "backup\tmissing_copies 1"]
