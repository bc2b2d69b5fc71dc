"""What the doctor made of a fault, kept for the page that bench/faults.py writes."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["FaultRecord"]


@dataclass
class FaultRecord:
    """One fault, or several at once. `first`: check, host and words of as many findings as there are faults.
    `taken_back`: faults that no command of ours mends, which the test undid itself.

    Seconds: `run` of the one look that told the causes, `told` from the strike to its end, `mended` from there to the
    end of a look that found nothing; None where that did not come.
    """

    faults: list[str]
    first: list[tuple[str, str, str]] = field(default_factory=list)
    correct: bool = False
    findings: int = 0
    folded: int = 0
    run: float = 0.0
    told: float = 0.0
    mended: float | None = None
    taken_back: list[str] = field(default_factory=list)
    at: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M}")
    load: float = 0.0

    def __post_init__(self) -> None:
        self._since = time.monotonic()

    def struck(self) -> None:
        self._since = time.monotonic()

    def looked(self, findings: list[dict[str, Any]], seconds: float, *, correct: bool) -> None:
        first = findings[: len(self.faults)]
        self.first = [(f["check"], f["host"], f["brief"]) for f in first]
        self.findings, self.folded = len(findings), sum(len(f.get("follows", ())) for f in findings)
        self.correct, self.run, self.told = correct, round(seconds, 1), round(time.monotonic() - self._since, 1)

    def healthy(self) -> None:
        self.mended = round(time.monotonic() - self._since - self.told, 1)

    def keep(self) -> None:
        """As a line of the file that MLOPS_INFRA_FAULTS names, where it does."""
        self.load = round(os.getloadavg()[0], 1)
        if path := os.environ.get("MLOPS_INFRA_FAULTS"):
            with Path(path).open("a") as lines:
                lines.write(json.dumps(asdict(self)) + "\n")
