"""The whole platform on one screen."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from mlops_infra.app.picture import Addon, Picture
from mlops_infra.doctor.check import Severity
from mlops_infra.ui.console import Style
from mlops_infra.ui.plan import count_of, hosts_text
from mlops_infra.ui.report import status_text, table

__all__ = ["picture_text", "watched_text"]

_SHOWN = 5
_SOON_DAYS = 90


def picture_text(picture: Picture, style: Style) -> str:
    """The parts, then what is wrong, and last what is true for months. Hosts that are silent are among the findings."""
    parts = replace(picture.status, problems=(), notes=())
    lines = [status_text(parts, style, ("nodes", "lb", "etcd")), ""]
    lines += [f"add-ons    {', '.join(_addon(a, style) for a in picture.addons)}"]
    lines += _addresses(picture, style)
    lines += [f"expiry     {_certificate(picture, style)}", f"backup     {_backup(picture, style)}"]
    lines += [status_text(parts, style, ("access",))]
    notes = [f"{style.note('note:')} {note}" for note in picture.status.notes]
    return "\n".join([*lines, "", *_findings(picture, style), *([""] if notes else []), *notes])


def watched_text(picture: Picture, style: Style, interval: float) -> str:
    """The same below a line that says of when it is, and how it ends."""
    head = f"{picture.at:%Y-%m-%d %H:%M:%S} UTC, every {interval:g} s, Ctrl-C ends"
    return f"{style.dim(head)}\n{picture_text(picture, style)}"


def _addon(addon: Addon, style: Style) -> str:
    if not addon.known:
        return f"{addon.name} not known"
    if addon.wanted is None:
        return style.dim(f"{addon.name} not installed")
    text = f"{addon.name}{' ' + addon.version if addon.version else ''} {addon.ready}/{addon.wanted}"
    return text if addon.ready == addon.wanted and addon.wanted else style.bad(text)


def _addresses(picture: Picture, style: Style) -> list[str]:
    pools = [f"{p.name} {', '.join(p.ranges)} ({p.used} of {p.size} used)" for p in picture.balanced.pools]
    lines = [f"pools      {'; '.join(pools)}"] if pools else []
    if picture.balanced.services:
        rows = [("SERVICE", "ADDRESS", "PORTS")]
        rows += [
            (s.full_name, ", ".join(s.addresses) or "waiting", ", ".join(map(str, s.ports)))
            for s in picture.balanced.services
        ]
        lines += ["", *table(rows, style), ""]
    return lines


def _certificate(picture: Picture, style: Style) -> str:
    first = picture.certificate
    if first is None:
        return "not known"
    days = (first.end - picture.at).days
    text = f"first to end: {first.path} on {first.host}, in {count_of(days, 'day')}"
    return style.bad(text) if days < 0 else style.warn(text) if days < _SOON_DAYS else text


def _backup(picture: Picture, style: Style) -> str:
    if picture.backup is None:
        return style.warn("none yet (`mlops-infra backup etcd`)")
    return f"{_ago(picture.backup, picture.at)}: {picture.backup_path}"


def _ago(at: datetime, now: datetime) -> str:
    seconds = max(0, int((now - at).total_seconds()))
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{count_of(seconds // size, unit)} ago"
    return "just now"


def _findings(picture: Picture, style: Style) -> list[str]:
    found = picture.diagnosis.findings
    advice = count_of(len(picture.diagnosis.advice), "piece") + " of advice"
    if not found:
        return [f"{style.good('healthy')}: no finding, {advice} (`mlops-infra doctor`)"]
    lines = [
        f"{style.strong(count_of(len(found), 'finding'))}, {advice} (`mlops-infra doctor` says why, and what to do)"
    ]
    # The same on several hosts is one line.
    told: dict[tuple[Severity, str], list[str]] = {}
    for one in found:
        told.setdefault((one.severity, one.finding.brief), []).extend([one.host] if one.host else [])
    for (severity, brief), hosts in list(told.items())[:_SHOWN]:
        mark = style.warn if severity is Severity.WARNING else style.bad
        lines.append(f"  {mark(severity.word)} {hosts_text(hosts) + ': ' if hosts else ''}{brief}")
    return [*lines, *([f"  and {len(told) - _SHOWN} more"] if len(told) > _SHOWN else [])]
