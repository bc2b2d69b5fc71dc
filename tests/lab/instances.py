"""Which lab instance a suite takes: never one that another suite holds, alive or cut off before its `lab down`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["free_instance"]


def free_instance(letter: str) -> str:
    """`letter`, or the first of `letter`2 to `letter`9 of which this machine has no lab."""
    names = [letter, *(f"{letter}{number}" for number in range(2, 10))]
    return next(name for name in names if not Path(f"/var/lib/mlops-infra-lab{name}/lab.json").exists())
