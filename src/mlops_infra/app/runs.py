"""Earlier runs, from their journals. A journal may end in the middle of a line: the workstation may have died."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_infra.errors import ExitCode, UsageError

__all__ = ["PastRun", "list_runs", "read_run"]

_STAMP = re.compile(r"(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z")
_ENDS = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed",
    ExitCode.PARTLY: "done on some hosts",
    ExitCode.UNREACHABLE: "nothing reachable",
    ExitCode.INTERRUPTED: "interrupted",
}


@dataclass(frozen=True, slots=True)
class PastRun:
    """One run. `outcome` is what the journal says at its end; a journal without an end is "did not end"."""

    id: str
    directory: Path
    records: tuple[dict[str, Any], ...] = ()

    @property
    def started(self) -> str:
        found = _STAMP.match(self.id)
        return "{}-{}-{} {}:{}:{}".format(*found.groups()) if found else ""

    @property
    def outcome(self) -> str:
        for record in reversed(self.records):
            if record.get("what") == "run_ended":
                if "error" in record:
                    return f"refused: {record['error']}"
                return _ENDS.get(record.get("exit_code", 0), f"exit code {record.get('exit_code')}")
        return "did not end"


def list_runs(runs: Path) -> tuple[PastRun, ...]:
    """All runs that are still kept, newest first."""
    if not runs.is_dir():
        return ()
    found = sorted((d for d in runs.iterdir() if d.is_dir()), reverse=True)
    return tuple(PastRun(d.name, d, _records(d / "journal.jsonl")) for d in found)


def read_run(runs: Path, run_id: str) -> PastRun:
    """The run with this id, the only one whose id begins so, or `last`. Raises UsageError when there is none."""
    known = list_runs(runs)
    if run_id == "last" and known:
        return known[0]
    fitting = [run for run in known if run.id.startswith(run_id)]
    exact = [run for run in fitting if run.id == run_id]
    if len(exact or fitting) != 1:
        what = "several runs begin with" if fitting else "there is no run"
        raise UsageError(f"{what} {run_id!r}", remedy="`mlops-infra runs list` shows them; `last` is the newest.")
    return (exact or fitting)[0]


def _records(journal: Path) -> tuple[dict[str, Any], ...]:
    try:
        lines = journal.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return tuple(records)
