"""How a smoke test is shown: a table, then each failure with its likely cause and the next command."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mlops_infra.app.smoke import Smoke
from mlops_infra.app.smoke_checks import Check, Result
from mlops_infra.ui.console import Style

__all__ = ["smoke_shape", "smoke_text"]


def smoke_text(done: Smoke, style: Style) -> str:
    width = max((len(c.title) for c in done.checks), default=0)
    lines = [_line(check, width, style) for check in done.checks]
    for check in done.checks:
        if check.result is Result.FAILED:
            lines += ["", f"{style.bad('failed:')} {style.strong(check.title)}"]
            lines += [f"    {line}" for line in check.details.splitlines()]
            lines += [f"  {style.dim('why:')} {check.cause}"] if check.cause else []
            lines += [f"  {style.dim('try:')} {check.remedy}"] if check.remedy else []
    lines += [f"{style.note('note:')} {note}" for note in done.notes]
    if done.not_cleaned:
        lines.append(f"{style.warn('left behind:')} {done.not_cleaned}")
    count = {r: sum(1 for c in done.checks if c.result is r) for r in Result}
    said = [f"{count[r]} {r}" for r in Result if count[r]]
    return "\n".join([*lines, f"Smoke test: {', '.join(said)}, in {done.seconds:.1f} s."])


def _line(check: Check, width: int, style: Style) -> str:
    word = {Result.OK: style.good("ok     "), Result.FAILED: style.bad("FAILED "), Result.SKIPPED: style.dim("skipped")}
    rest = check.details if check.result is not Result.FAILED else ""
    took = f"{check.seconds:5.1f} s" if check.result is not Result.SKIPPED else "       "
    asked = f"from {check.source}" if check.source else ""
    return (
        f"{word[check.result]}  {check.title.ljust(width)}  {took}  {'; '.join(x for x in (asked, rest) if x)}".rstrip()
    )


def smoke_shape(done: Smoke) -> dict[str, Any]:
    return {
        "ok": done.ok,
        "namespace": done.namespace,
        "seconds": done.seconds,
        "checks": [{**asdict(check), "seconds": round(check.seconds, 3)} for check in done.checks],
        "notes": list(done.notes),
        "left_behind": done.not_cleaned,
    }
