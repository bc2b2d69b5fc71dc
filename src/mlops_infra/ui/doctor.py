"""What the doctor found, for a person: what to do first stands first, what follows from it below it."""

from __future__ import annotations

from collections.abc import Sequence

from mlops_infra.app.doctor_fix import Repairs
from mlops_infra.app.doctor_since import News
from mlops_infra.doctor.check import Check, Severity
from mlops_infra.doctor.diagnosis import Diagnosed, Diagnosis
from mlops_infra.ui.console import Style
from mlops_infra.ui.plan import count_of

__all__ = ["diagnosis_text", "explanation_text", "news_text", "repairs_text"]

_SHOWN = 6
"""Lines of what follows, unless everything is asked for."""
_WIDE = 110


def diagnosis_text(found: Diagnosis, style: Style, *, all_lines: bool = False) -> str:
    lines: list[str] = []
    for number, one in enumerate(found.findings, start=1):
        lines += [*_finding(number, one, style, all_lines=all_lines), ""]
    if found.advice:
        lines += [style.dim("advice:"), *_advice(found.advice, style), ""]
    if all_lines and found.skipped:
        lines += [style.dim(f"skipped: {s.check} {s.host}".rstrip() + f": {s.reason}") for s in found.skipped]
        lines.append("")
    return "\n".join([*lines, _closing(found, style)])


def news_text(news: News, found: Diagnosis, style: Style, *, whole: bool = True, all_lines: bool = False) -> str:
    """What is new, what is gone, how much is as it was. `whole`: the look was of everything, as the last one was."""
    lines: list[str] = []
    for number, one in enumerate(news.new, start=1):
        lines += [*_finding(number, one, style, all_lines=all_lines), ""]
    gone = [f"  - {g.host + ': ' if g.host else ''}{g.brief} ({g.check})" for g in news.gone] if whole else []
    lines += [style.good("gone:"), *gone, ""] if gone else []
    when = f"since {news.last:%Y-%m-%d %H:%M} UTC" if news.last else "(no earlier look is remembered)"
    count = count_of(len(news.new), "new finding") if news.new else "nothing new"
    known = f"; {count_of(news.known, 'finding')} as before (`mlops-infra doctor` shows all)" if news.known else ""
    silent = f"; not asked: {', '.join(found.unreachable)}" if found.unreachable else ""
    return "\n".join([*lines, f"{style.strong(count)} {when}{known}{silent}"])


def repairs_text(repairs: Repairs, style: Style) -> str:
    """What --fix is about, and what it leaves."""
    lines = [f"{style.good('to mend:')} {_short(one)}" for one in repairs.mends]
    for one in repairs.left:
        lines.append(f"{style.warn('left to you:')} {_short(one)}  {style.dim('do:')} {one.finding.remedy}")
    return "\n".join([*lines, ""])


def _advice(advice: Sequence[Diagnosed], style: Style) -> list[str]:
    """A line each; the remedy below it where both would not fit beside one another."""
    width = max(len(one.check) for one in advice)
    lines = []
    for one in advice:
        lines.append(f"  {style.note(one.check.ljust(width))}  {one.finding.brief}")
        if remedy := one.finding.remedy:
            fits = width + len(one.finding.brief) + len(remedy) + 7 <= _WIDE
            arrow = f"{style.dim('→')} {remedy}"
            lines[-1:] = [f"{lines[-1]}  {arrow}"] if fits else [lines[-1], f"  {' ' * width}  {arrow}"]
    return lines


def _closing(found: Diagnosis, style: Style) -> str:
    asked = f"{count_of(found.asked, 'question')} on {count_of(found.hosts, 'host')} in {found.seconds:.1f} s"
    if found.findings:
        return f"{style.strong(count_of(len(found.findings), 'finding'))}; {asked}"
    return f"{style.good('healthy')}: no finding; {asked}"


def _finding(number: int, one: Diagnosed, style: Style, *, all_lines: bool) -> list[str]:
    mark = style.warn if one.severity is Severity.WARNING else style.bad
    where = f"{one.host}: " if one.host else ""
    finding = one.finding
    lines = [f"{number}. {mark(one.severity.word)} {style.strong(where + finding.brief)}  {style.dim(one.check)}"]
    # What the first line says already is not said again below it.
    lines += [f"     {line}" for line in finding.evidence.splitlines() if line.strip() and line not in finding.brief]
    lines += [f"   {style.dim('why:')} {finding.cause}"] if finding.cause else []
    lines += [f"   {style.dim('do:')}  {finding.remedy}"] if finding.remedy else []
    if one.follows:
        shown = one.follows if all_lines else one.follows[:_SHOWN]
        lines.append(f"   {style.dim('this explains also:')}")
        lines += [f"     - {_short(follower)}" for follower in shown]
        rest = len(one.follows) - len(shown)
        lines += [f"     - and {rest} more (-v shows them)"] if rest else []
    return lines


def _short(one: Diagnosed) -> str:
    return f"{one.host + ': ' if one.host else ''}{one.finding.brief} ({one.check})"


def explanation_text(check: Check, checks: Sequence[Check], style: Style) -> str:
    """A check in words, and its neighbours."""
    behind = [c.id for c in checks if check.id in c.depends_on]
    on = sorted(check.roles) if check.scope == "host" else ["the platform"]
    lines = [
        f"{style.strong(check.id)}  {check.title}",
        "",
        check.explanation,
        "",
        f"severity    {'advice' if check.advice else check.severity.word}",
        f"asked of    {', '.join(on)}",
    ]
    lines += [f"caused by   {', '.join(check.depends_on)}"] if check.depends_on else []
    lines += [f"explains    {', '.join(behind)}"] if behind else []
    return "\n".join(lines)
