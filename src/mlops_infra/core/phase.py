"""Phases and steps: the program of a platform, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mlops_infra.core.change import Resource
from mlops_infra.core.operation import Operation

__all__ = ["API", "FailurePolicy", "Phase", "Step", "StepId"]

API = "@api"
"""The host of steps that speak to the Kubernetes API: whichever master answers, through its own API server."""


class StepId(NamedTuple):
    phase: str
    host: str


@dataclass(frozen=True, slots=True)
class Step:
    """What one phase wants on one host: first its resources in order, then its operations in order.

    `needs` must have succeeded before this starts; `after` must merely have ended, well or not (masters join one at a
    time, and a dead one must not stop the next). Steps that nothing orders run side by side; steps of one host never.
    """

    phase: str
    host: str
    resources: tuple[Resource, ...] = ()
    operations: tuple[Operation, ...] = ()
    needs: frozenset[StepId] = frozenset()
    after: frozenset[StepId] = frozenset()
    knocks: bool = False
    """Its changes are made once a new connection to the host was let in, beside the one that the run has: the proof
    that what an earlier step did to the network has locked nobody out."""

    @property
    def id(self) -> StepId:
        return StepId(self.phase, self.host)


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """How many hosts of a phase may fail before what has not begun is not begun: a share of 0 to 1, rounded down."""

    tolerated_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Phase:
    """One idea of the platform (`runtime`, `lb`, `control-plane` …): a pure function of the cluster model."""

    name: str
    title: str
    steps: tuple[Step, ...]
    failure: FailurePolicy = FailurePolicy()
    quorum: bool = False
    """Refuse what is disruptive here when fewer than a majority of the etcd members would remain."""
