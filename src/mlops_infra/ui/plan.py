"""The plan as people read it: per phase and group of hosts, what changes and why, with unified diffs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlops_infra.core import API, Change, HostProblem, Kind, Plan, PlannedOperation, PlannedStep
from mlops_infra.ui.console import Style

__all__ = ["count_of", "hosts_text", "overview_text", "plan_text", "problems_text", "summary"]

_SIGNS = {Kind.CREATE: "+", Kind.UPDATE: "~", Kind.REPLACE: "±", Kind.REMOVE: "-", Kind.RUN: "»"}
_DIFF_LINES = 14
_HOSTS_SHOWN = 8
_MANY_LINES = 40
"""More than this nobody reads who has said yes beforehand."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One change or operation, without its host: equal rows of several hosts are shown once."""

    sign: str
    title: str
    reason: str
    diff: str = ""
    disruptive: bool = False


def plan_text(plan: Plan, style: Style, *, all_lines: bool = False) -> str:
    """The whole view. Long diffs are cut unless `all_lines`."""
    lines: list[str] = []
    for phase, hosts, rows in _groups(plan):
        lines.append(f"{style.strong(phase)} {style.dim('·')} {hosts_text(hosts)}")
        width = min(max((len(row.title) for row in rows), default=0), 60)
        for row in rows:
            lines += _row_lines(row, style, width, all_lines=all_lines)
        lines.append("")
    lines += problems_text(plan.problems, style)
    lines += [f"{style.note('note:')} {note}" for note in plan.notes]
    lines.append(summary(plan))
    return "\n".join(lines)


def overview_text(plan: Plan, style: Style) -> str:
    """For who has said yes beforehand: the whole view where it is short, else a line a phase, with the same problems
    and notes below."""
    whole = plan_text(plan, style)
    if len(whole.splitlines()) <= _MANY_LINES:
        return whole
    rows = [_phase_row(phase, [s for s in plan.steps if s.id.phase == phase]) for phase in _phases(plan)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{style.strong(a.ljust(widths[0]))}  {b.ljust(widths[1])}  {style.dim(c)}".rstrip() for a, b, c in rows]
    lines += ["", *problems_text(plan.problems, style)]
    lines += [f"{style.note('note:')} {note}" for note in plan.notes]
    return "\n".join([*lines, f"{summary(plan)} `mlops-infra plan` shows all of it, as does -v here."])


def summary(plan: Plan) -> str:
    """One line: how much would be done, and where."""
    if plan.is_empty:
        unseen = sum(1 for p in plan.problems)
        return f"Nothing to do, as far as can be seen: {unseen} problem(s) above." if unseen else "Nothing to do."
    changes = sum(len(step.changes) for step in plan.steps)
    operations = sum(len(step.operations) for step in plan.steps)
    hosts = {step.id.host for step in plan.steps} - {API}
    disruptive = sum(1 for step in plan.steps for item in _items(step) if item.disruptive)
    parts = [count_of(changes, "change")] if changes else []
    parts += [count_of(operations, "operation")] if operations else []
    where = f" on {count_of(len(hosts), 'host')}" if hosts else " in the cluster"
    return f"Plan: {' and '.join(parts)}{where}{f', {disruptive} disruptive' if disruptive else ''}."


def hosts_text(hosts: Sequence[str]) -> str:
    """Names in order; many are cut, with their number."""
    names = ["the Kubernetes API" if host == API else host for host in hosts]
    if len(names) <= _HOSTS_SHOWN:
        return " ".join(names)
    return f"{' '.join(names[: _HOSTS_SHOWN - 2])} … ({len(names)} hosts)"


def problems_text(problems: Sequence[HostProblem], style: Style) -> list[str]:
    """Problems with the same cause are one entry with all their hosts."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for problem in problems:
        grouped.setdefault((problem.brief, problem.cause, problem.remedy), []).append(problem.host)
    lines = []
    for (brief, cause, remedy), hosts in grouped.items():
        lines.append(f"{style.bad('problem:')} {style.strong(hosts_text(hosts))}: {brief}")
        lines += [f"  {style.dim('why:')} {cause}"] if cause else []
        lines += [f"  {style.dim('try:')} {remedy}"] if remedy else []
    return lines


def _phases(plan: Plan) -> Sequence[str]:
    return list(dict.fromkeys(step.id.phase for step in plan.steps))


def _phase_row(phase: str, steps: Sequence[PlannedStep]) -> tuple[str, str, str]:
    """Name, how much, where."""
    counted = [(sum(len(s.changes) for s in steps), "change"), (sum(len(s.operations) for s in steps), "operation")]
    said = [count_of(number, noun) for number, noun in counted if number]
    said += ["disruptive"] if any(item.disruptive for s in steps for item in _items(s)) else []
    return phase, ", ".join(said), hosts_text([s.id.host for s in steps])


def _items(step: PlannedStep) -> list[Change | PlannedOperation]:
    return [*step.changes, *step.operations]


def _groups(plan: Plan) -> Iterator[tuple[str, list[str], list[_Row]]]:
    """Phase, hosts, rows: within a phase, rows that the same set of hosts shares stand together."""
    phases: dict[str, dict[_Row, list[str]]] = {}
    for step in plan.steps:
        rows = phases.setdefault(step.id.phase, {})
        for item in _items(step):
            hosts = rows.setdefault(_row(item), [])
            if step.id.host not in hosts:
                hosts.append(step.id.host)
    for phase, rows in phases.items():
        together: dict[tuple[str, ...], list[_Row]] = {}
        for row, hosts in rows.items():
            together.setdefault(tuple(hosts), []).append(row)
        for key, members in together.items():
            yield phase, list(key), members


def _row(item: Change | PlannedOperation) -> _Row:
    if isinstance(item, PlannedOperation):
        return _Row("»", item.title, item.reason, disruptive=item.disruptive)
    return _Row(_SIGNS[item.kind], item.title, item.reason, item.diff.strip("\n"), item.disruptive)


def _row_lines(row: _Row, style: Style, width: int, *, all_lines: bool) -> list[str]:
    mark = {"+": style.good, "-": style.bad}.get(row.sign, style.warn)
    warning = f"  {style.warn('disruptive')}" if row.disruptive else ""
    lines = [f"  {mark(row.sign)} {row.title.ljust(width)}  {style.dim(row.reason)}{warning}".rstrip()]
    diff = row.diff.splitlines()
    shown = diff if all_lines or len(diff) <= _DIFF_LINES + 2 else diff[:_DIFF_LINES]
    lines += [f"      {_coloured(line, style)}" for line in shown]
    if len(shown) < len(diff):
        lines.append(style.dim(f"      … {len(diff) - len(shown)} more lines (-v shows all)"))
    return lines


def _coloured(line: str, style: Style) -> str:
    if line.startswith(("+++", "---", "@@")):
        return style.dim(line)
    if line.startswith("+"):
        return style.good(line)
    return style.bad(line) if line.startswith("-") else line


def count_of(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
