"""What can go wrong between a plan and its end, as errors that a person can act on."""

# ruff: noqa: N818  -- named for what happened, as people say it

from __future__ import annotations

from mlops_infra.errors import InfraError

__all__ = [
    "ActionFailed",
    "InDoubt",
    "LockBusy",
    "LockLost",
    "LockedOut",
    "NoMajority",
    "OperationUnclear",
    "PlanMoved",
    "QuorumAtRisk",
    "SelectionRefused",
    "VerifyFailed",
]


class ActionFailed(InfraError):
    """A command of a batch ended badly; nothing after it was run."""


class InDoubt(InfraError):
    """The link broke after something was sent, and the host has not been heard since."""


class VerifyFailed(InfraError):
    """Everything ran without an error, and yet the host is not as declared."""


class OperationUnclear(InfraError):
    """An operation cannot be shown to be done, nor to be safe to run."""


class LockBusy(InfraError):
    """Another run is writing to this platform."""


class LockLost(InfraError):
    """The run no longer holds a majority of its locks: it starts nothing more."""


class LockedOut(InfraError):
    """New connections are kept out since this run changed something; the one it has still lives."""


class NoMajority(InfraError):
    """Too few masters can be locked to be sure of being alone."""


class QuorumAtRisk(InfraError):
    """A disruptive step would leave etcd without a majority."""


class PlanMoved(InfraError):
    """The world is no longer as it was when the plan was made."""


class SelectionRefused(InfraError):
    """What was selected needs something that is neither selected nor done."""
