"""How a run ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_infra.core import Outcome, Plan, StepResult
from mlops_infra.errors import ExitCode

__all__ = ["RunResult", "exit_code_of"]

_GOOD = frozenset({Outcome.OK, Outcome.CHANGED})


@dataclass(frozen=True, slots=True)
class RunResult:
    """`plan` is what was really applied: made again after the lock was taken. `directory` holds the run's record."""

    run_id: str
    plan: Plan
    results: tuple[StepResult, ...]
    directory: Path
    interrupted: bool = False
    seconds: float = 0.0
    stopped: str = ""
    """Why the run began nothing more, where something other than the user stopped it."""

    @property
    def changed(self) -> bool:
        return any(r.changed for r in self.results)

    @property
    def failed(self) -> tuple[StepResult, ...]:
        return tuple(r for r in self.results if r.outcome not in _GOOD)

    @property
    def exit_code(self) -> ExitCode:
        return exit_code_of(self.results, interrupted=self.interrupted)


def exit_code_of(results: Sequence[StepResult], *, interrupted: bool = False) -> ExitCode:
    """Done, partly done (some hosts are wholly fine), failed, or nothing reachable (architecture.md 4)."""
    if interrupted:
        return ExitCode.INTERRUPTED
    bad = {r.id.host for r in results if r.outcome not in _GOOD}
    if not bad:
        return ExitCode.DONE
    if all(r.outcome is Outcome.UNREACHABLE for r in results):
        return ExitCode.UNREACHABLE
    fine = {r.id.host for r in results} - bad
    return ExitCode.PARTLY if fine else ExitCode.FAILED
