"""Which lab instance a suite takes: never one that another suite holds, alive or cut off before its `lab down`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["free_instance", "state_of"]


def state_of(instance: str) -> Path:
    """Where a lab of this instance keeps its state (`mlops_infra.lab.paths`, which knows its own process' alone)."""
    return Path(f"/var/lib/mlops-infra-lab{instance}")


def free_instance(letter: str) -> str:
    """`letter`, or the first of `letter`2 to `letter`9 of which this machine has no lab."""
    names = [letter, *(f"{letter}{number}" for number in range(2, 10))]
    return next(name for name in names if not (state_of(name) / "lab.json").exists())
