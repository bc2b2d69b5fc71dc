"""Backups: the operator's own bundles, and what the masters' timer left for node-exporter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mlops_infra.doctor.check import OK, Check, Finding, Severity, Skipped, Verdict, on_host
from mlops_infra.doctor.probes import control_plane, control_plane_of_masters, said
from mlops_infra.doctor.view import Backup, View
from mlops_infra.model.monitoring import seconds_of
from mlops_infra.phases.backup import DIRECTORY, SCRIPT

__all__ = ["BACKUP_ADVICE", "BACKUP_AGE", "newest_backup"]

_SUCCESS, _FAILURE, _MISSING = "last_success_timestamp_seconds", "last_failure_timestamp_seconds", "missing_copies"
_SAME = timedelta(minutes=30)
"""A backup of the operator's leaves its mark on a master when it ends; its bundle has the time of its beginning."""


def _told(view: View, host: str) -> dict[str, int]:
    """The numbers that a master's timer left, by their word."""
    lines = (said(view.facts(host), control_plane(view.cluster.host_named(host))) or {}).get("backup", ())
    pairs = (line.split() for line in lines)
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _latest(view: View, word: str) -> tuple[datetime, str] | None:
    """The latest time of that word, and the master that tells it."""
    names = [m.name for m in view.cluster.hosts.masters]
    times = [(datetime.fromtimestamp(at, UTC), name) for name in names if (at := _told(view, name).get(word))]
    return max(times, default=None)


def newest_backup(view: View) -> Backup | None:
    """Of the operator's machine and of the masters."""
    own = max(view.local.backups, key=lambda b: b.at, default=None)
    theirs = _latest(view, _SUCCESS)
    if theirs is None or (own is not None and own.at >= theirs[0] - _SAME):
        return own
    return Backup(
        f"{DIRECTORY} on {theirs[1]}" if view.cluster.backup.schedule.enabled else f"as {theirs[1]} tells", theirs[0]
    )


def _age(view: View, _: str) -> Verdict:
    last = newest_backup(view)
    allowed = timedelta(seconds=seconds_of(view.cluster.monitoring.backup_max_age))
    old = last is not None and view.now - last.at > allowed
    if view.cluster.backup.schedule.enabled:
        return _scheduled(view, last, old=old)
    if last is None:
        return Skipped("no backup yet: told under advice")
    if not old:
        return OK
    return Finding(
        f"the last backup is {_span(view.now - last.at)} old",
        last.path,
        "nobody ran `backup etcd` since, and no timer does (`backup.schedule`)",
        "mlops-infra backup etcd",
        stands_alone=True,
    )


def _scheduled(view: View, last: Backup | None, *, old: bool) -> Verdict:
    failure = _latest(view, _FAILURE)
    host = failure[1] if failure else view.a_master
    failed = f"failed at {failure[0]:%Y-%m-%d %H:%M} UTC on {host}" if failure else ""
    words = (said(view.facts(host), control_plane(view.cluster.host_named(host))) or {}).get("backup-log", ())
    if old or (last is None and failure):
        how = f"the last one is {_span(view.now - last.at)} old" if last else "there has never been one"
        return Finding(
            f"the schedule makes no backups: {how}" + (f"; it {failed}" if failed else ""),
            "\n".join(filter(None, (*words, f"last good one: {last.path}" if last else ""))),
            "the timer's run fails, or the timers of all masters are stopped",
            on_host(host, f"{SCRIPT} --now"),
            stands_alone=True,
        )
    if last is None:
        return Skipped("the timer has not run yet")
    newest = _latest(view, _SUCCESS)
    missing = _told(view, newest[1]).get(_MISSING, 0) if newest else 0
    if newest and missing and newest[0] >= last.at - _SAME:
        return Finding(
            f"the last scheduled backup lacks {missing} of its copies",
            "\n".join(words) or f"as {newest[1]} tells",
            "a place below `backup.copies` was not reached, is full, or refuses the key",
            on_host(newest[1], f"{SCRIPT} --now"),
            stands_alone=True,
        )
    return OK


def _span(age: timedelta) -> str:
    return f"{age.days} days" if age.days > 1 else f"{age.total_seconds() / 3600:.0f} hours"


def _none(view: View, _: str) -> Verdict:
    if newest_backup(view) is not None or (view.cluster.backup.schedule.enabled and _latest(view, _FAILURE)):
        return OK
    return Finding(
        "there is no backup yet",
        "",
        "with the majority of the masters' disks the cluster would be lost",
        "mlops-infra backup etcd",
    )


def _only_here(view: View, _: str) -> Verdict:
    scheduled = view.cluster.backup.schedule.enabled
    if view.cluster.backup.copies or not (scheduled or view.local.backups):
        return OK
    where = ["on the masters"] * scheduled + ["on this machine"] * bool(view.local.backups)
    return Finding(
        f"backups lie {' and '.join(where)} alone",
        "",
        "whatever takes these takes the backups along",
        "a place below `backup.copies` in cluster.yaml, then mlops-infra backup copy",
    )


BACKUP_AGE = Check(
    "backup.age",
    "Is the last backup young enough?",
    Severity.WARNING,
    _age,
    "The newest of the bundles on this machine and of what the masters tell, against `monitoring.backup_max_age`: what "
    "was changed since is not in it. With a schedule also why it made none, and whether the last one has its copies.",
    scope="cluster",
    roles=frozenset({"master"}),
    needs=control_plane_of_masters,
)

BACKUP_ADVICE: tuple[Check, ...] = (
    Check(
        "backup.none",
        "Is there a backup at all?",
        Severity.WARNING,
        _none,
        "Standing advice until the first `mlops-infra backup etcd`, or the first that the masters' timer made.",
        scope="cluster",
        needs=control_plane_of_masters,
        advice=True,
    ),
    Check(
        "backup.local",
        "Is there a copy of the backups elsewhere?",
        Severity.WARNING,
        _only_here,
        "Standing advice while there are bundles or a schedule, and no `backup.copies`.",
        scope="cluster",
        advice=True,
    ),
)
