"""How saved objects, and what differs from them, are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlops_infra.app.backup_resources import Difference, Saved
from mlops_infra.ui.backup import size_text
from mlops_infra.ui.console import Style

__all__ = ["differences_shape", "differences_text", "saved_shape", "saved_text"]

_LINES = 40


def saved_text(done: Saved, style: Style) -> str:
    most = sorted(done.counts.items(), key=lambda item: -item[1])[:6]
    lines = [
        f"{style.good('saved')}      {done.path}  {size_text(done.size)}",
        f"objects    {done.objects} to apply again, {done.derived} that controllers made, of {len(done.counts)} kinds "
        f"({', '.join(f'{count} {kind}' for kind, count in most)} …)",
    ]
    lines += [f"{style.warn('missing:')} {name} could not be listed" for name in done.failed]
    return "\n".join(lines)


def saved_shape(done: Saved) -> dict[str, Any]:
    return {
        "file": str(done.path),
        "size": done.size,
        "objects": done.objects,
        "derived": done.derived,
        "kinds": dict(done.counts),
        "failed": list(done.failed),
    }


def differences_text(found: Sequence[Difference], style: Style, *, all_lines: bool = False) -> str:
    """One block an object: what putting it back would change."""
    lines: list[str] = []
    for one in found:
        word = style.good("create") if one.missing else style.warn("replace")
        lines.append(f"{word}  {one.kept.reference}")
        if not one.missing:
            shown = one.lines if all_lines else one.lines[:_LINES]
            lines += [f"    {line}" for line in shown]
            lines += [f"    … {len(one.lines) - len(shown)} more lines (-v)"] if len(shown) < len(one.lines) else []
    count = sum(one.missing for one in found)
    return "\n".join([*lines, "", f"{count} to create, {len(found) - count} to replace"])


def differences_shape(found: Sequence[Difference]) -> list[dict[str, Any]]:
    return [
        {"object": str(one.kept.reference), "change": "create" if one.missing else "replace", "diff": list(one.lines)}
        for one in found
    ]
