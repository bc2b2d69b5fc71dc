"""A plan as JSON: a stable shape for people's tools, and what `up plan.json` compares with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_infra import __version__
from mlops_infra.core import Change, Plan, PlannedOperation
from mlops_infra.errors import ConfigError

__all__ = ["SavedPlan", "load_saved_plan", "plan_to_dict", "plan_to_json"]

FORMAT = 1


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """What is needed of a saved plan: `digest` says whether the world is still the same."""

    cluster: str
    digest: str
    tool: str


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """Diffs are in it, masked as they are shown; contents and scripts are not."""
    return {
        "format": FORMAT,
        "tool": __version__,
        "cluster": plan.cluster,
        "digest": plan.digest(),
        "empty": plan.is_empty,
        "steps": [
            {
                "phase": step.id.phase,
                "host": step.id.host,
                "changes": [_change(c) for c in step.changes],
                "operations": [_operation(o) for o in step.operations],
            }
            for step in plan.steps
        ],
        "problems": [
            {
                "host": p.host,
                "brief": p.brief,
                "cause": p.cause,
                "remedy": p.remedy,
                "unreachable": p.unreachable,
            }
            for p in plan.problems
        ],
        "notes": list(plan.notes),
    }


def plan_to_json(plan: Plan) -> str:
    return json.dumps(plan_to_dict(plan), indent=2) + "\n"


def load_saved_plan(path: Path) -> SavedPlan:
    """Raises ConfigError where the file is not a plan of ours."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise ConfigError(
                f"{path}: a plan of format {said['format']}, this version reads {FORMAT}",
                remedy="Make the plan again with `mlops-infra plan --out`.",
            )
        return SavedPlan(str(said["cluster"]), str(said["digest"]), str(said["tool"]))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such plan", remedy="Make one with `mlops-infra plan --out`.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: not a saved plan", details=str(error), remedy="Make one with `mlops-infra plan --out`."
        ) from error


def _change(change: Change) -> dict[str, Any]:
    return {
        "resource": change.resource,
        "title": change.title,
        "kind": change.kind.value,
        "reason": change.reason,
        "diff": change.diff,
        "disruptive": change.disruptive,
        "handlers": sorted({h.id for h in change.notifies}),
    }


def _operation(operation: PlannedOperation) -> dict[str, Any]:
    return {
        "id": operation.id,
        "title": operation.title,
        "reason": operation.reason,
        "disruptive": operation.disruptive,
    }
