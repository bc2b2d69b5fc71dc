"""What is said about a host or the cluster before anything is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Severity"]

Severity = Literal["refuse", "warn", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`refuse`: nothing is written while it holds. `host` is empty where it is about the cluster."""

    host: str
    severity: Severity
    brief: str
    cause: str = ""
    remedy: str = ""
