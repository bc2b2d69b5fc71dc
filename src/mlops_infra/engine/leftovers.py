"""Restarts that an earlier run made necessary and did not live to do: asked for on every host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mlops_infra.core import API, Phase, Step, StepId
from mlops_infra.resources import PendingHandlers

__all__ = ["with_leftovers"]


def with_leftovers(phases: Iterable[Phase], chosen: frozenset[StepId]) -> tuple[Phase, ...]:
    """The phases, with PendingHandlers last in the first chosen step of each host that has resources at all."""
    seen: set[str] = {API}

    def added(step: Step) -> Step:
        if step.id not in chosen or step.host in seen or not step.resources:
            return step
        seen.add(step.host)
        mine = PendingHandlers()
        there = any(r.id == mine.id for r in step.resources)
        return step if there else replace(step, resources=(*step.resources, mine))

    return tuple(replace(p, steps=tuple(added(s) for s in p.steps)) for p in phases)
