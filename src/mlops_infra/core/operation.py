"""Operations: what is done once to the cluster, not converged: kubeadm init, a join, a member removal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mlops_infra.core.change import PutFile
from mlops_infra.core.facts import Facts
from mlops_infra.core.probe import Probe
from mlops_infra.core.secret import Secret

__all__ = ["Input", "Inputs", "Operation", "OperationState", "Script", "Standing"]

Inputs = Mapping[str, Secret]


class OperationState(StrEnum):
    DONE = "done"
    PENDING = "pending"
    BROKEN = "broken"
    """Half-done in a way that must not be repeated blindly (domain.md 3.4); `reason` says what to do."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Standing:
    """How an operation stands on its host, and why."""

    state: OperationState
    reason: str = ""
    remedy: str = ""
    underway: bool = False
    """PENDING, and somebody is at it there: its end is waited for before another try is prepared."""


@dataclass(frozen=True, slots=True)
class Script:
    """What an operation runs: POSIX sh as root under `set -eu`, and files staged first.

    Files that hold secrets should lie below /run (tmpfs) and be removed by the script's own trap. Their `PutFile.path`
    is final; the script may rely on them.
    """

    text: str
    files: tuple[PutFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Input:
    """Something another host must tell first, e.g. a join token minted on a master.

    `script` runs there, as root; each `name=value` line it prints is an input, kept in memory as a Secret and never
    written to disk, journal or log.
    """

    host: str
    script: str
    deadline: int = 60


@dataclass(frozen=True, slots=True)
class Operation:
    """One step that is not idempotent by itself.

    `standing` judges facts (the answers to `probes`); DONE skips it, BROKEN stops its host with the remedy. It runs
    detached on the host (`systemd-run`), so that a broken link loses nothing: the next contact finds its result in
    /run/mlops-infra/<batch>/, and where even that is gone `standing` decides afresh.
    """

    id: str
    title: str
    probes: frozenset[Probe[Any]]
    standing: Callable[[Facts], Standing]
    script: Callable[[Inputs], Script]
    inputs: tuple[Input, ...] = ()
    deadline: int = 600
    disruptive: bool = False
