"""The shapes of docs/reference/json.md: values as plain dicts, for `--json` and for files that outlive a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlops_infra.core import HostProblem, Plan, PlannedStep, StepResult

__all__ = ["plan_shape", "problem_shape", "results_shape"]


def plan_shape(plan: Plan) -> dict[str, Any]:
    """What `plan --json` prints. No content of files and no script is in it: diffs are masked where sensitive."""
    return {
        "cluster": plan.cluster,
        "digest": plan.digest(),
        "changes": sum(len(step.changes) for step in plan.steps),
        "operations": sum(len(step.operations) for step in plan.steps),
        "steps": [_step_shape(step) for step in plan.steps],
        "problems": [problem_shape(problem) for problem in plan.problems],
        "notes": list(plan.notes),
    }


def _step_shape(step: PlannedStep) -> dict[str, Any]:
    return {
        "phase": step.id.phase,
        "host": step.id.host,
        "changes": [
            {
                "resource": change.resource,
                "title": change.title,
                "kind": str(change.kind),
                "reason": change.reason,
                "diff": change.diff,
                "disruptive": change.disruptive,
            }
            for change in step.changes
        ],
        "operations": [
            {"id": o.id, "title": o.title, "reason": o.reason, "disruptive": o.disruptive} for o in step.operations
        ],
    }


def problem_shape(problem: HostProblem) -> dict[str, Any]:
    return {
        "host": problem.host,
        "brief": problem.brief,
        "cause": problem.cause,
        "remedy": problem.remedy,
        "unreachable": problem.unreachable,
    }


def results_shape(results: Iterable[StepResult]) -> list[dict[str, Any]]:
    return [
        {
            "phase": result.id.phase,
            "host": result.id.host,
            "outcome": str(result.outcome),
            "changed": list(result.changed),
            "seconds": round(result.seconds, 3),
            **({"brief": result.brief} if result.brief else {}),
            **({"details": result.details} if result.details else {}),
            **({"cause": result.cause} if result.cause else {}),
            **({"remedy": result.remedy} if result.remedy else {}),
        }
        for result in results
    ]
