"""The shapes of docs/reference/json.md: values as plain dicts, for `--json` and for files that outlive a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from mlops_infra.app.runs import PastRun
from mlops_infra.app.status import Status
from mlops_infra.core import StepResult

__all__ = ["results_shape", "run_shape", "status_shape"]


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


def status_shape(status: Status) -> dict[str, Any]:
    shape = asdict(status)
    shape["versions"] = dict(status.versions)
    return shape


def run_shape(run: PastRun, *, records: bool = False) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "id": run.id,
        "started": run.started,
        "outcome": run.outcome,
        "directory": str(run.directory),
    }
    return {**shape, "records": list(run.records)} if records else shape
