"""How copies of bundles and retention are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlops_infra.app.backup_places import Sent
from mlops_infra.app.backup_prune import Pruning
from mlops_infra.app.backup_store import Stored
from mlops_infra.errors import InfraError
from mlops_infra.ui.backup import size_text
from mlops_infra.ui.console import Style
from mlops_infra.ui.errors import as_json

__all__ = ["copies_shape", "copies_text", "pruning_shape", "pruning_text", "sent_shape", "sent_text"]


def sent_text(sent: Sequence[Sent], style: Style) -> str:
    return "\n".join(
        f"copied     {one.place}" if one.problem is None else _trouble(one.place, one.problem, style) for one in sent
    )


def _trouble(place: str, problem: InfraError, style: Style) -> str:
    lines = [f"{style.bad('no copy:')}  {place}: {problem.brief}"]
    lines += [f"           {line}" for line in (problem.details, problem.cause, problem.remedy) if line]
    return "\n".join(lines)


def sent_shape(sent: Sequence[Sent]) -> list[dict[str, Any]]:
    return [{"place": one.place, **(as_json(one.problem) if one.problem else {})} for one in sent]


def copies_text(found: Mapping[str, tuple[Stored, ...] | InfraError], style: Style) -> str:
    """What lies where, newest first."""
    lines = []
    for place, there in found.items():
        if isinstance(there, InfraError):
            lines.append(_trouble(place, there, style))
            continue
        lines.append(style.strong(f"{place}: {len(there)} bundles"))
        lines += [f"  {one.path.name}  {size_text(one.size)}" for one in there]
    return "\n".join(lines) or "cluster.yaml names no place for copies (backup.copies)."


def copies_shape(found: Mapping[str, tuple[Stored, ...] | InfraError]) -> dict[str, Any]:
    return {
        "places": [
            {"place": place, **as_json(there)}
            if isinstance(there, InfraError)
            else {"place": place, "bundles": [{"name": s.path.name, "size": s.size} for s in there]}
            for place, there in found.items()
        ]
    }


def pruning_text(good: Stored, planned: Sequence[Pruning], style: Style) -> str:
    lines = [f"good       {good.path.name} was opened and every file compared: it stays everywhere"]
    for one in planned:
        if one.problem is not None:
            lines.append(_trouble(one.place, one.problem, style))
            continue
        lines.append(f"{style.strong(one.place)}: {len(one.gone)} go, {one.kept} stay")
        lines += [f"  {stored.path.name}" for stored in one.gone]
    return "\n".join(lines)


def pruning_shape(good: Stored, done: Sequence[Pruning]) -> dict[str, Any]:
    return {
        "good": good.path.name,
        "places": [
            {
                "place": one.place,
                "removed": [s.path.name for s in one.gone],
                "kept": one.kept,
                **(as_json(one.problem) if one.problem else {}),
            }
            for one in done
        ],
    }
