"""What the last look found, kept beside cluster.yaml, and what is new since: `doctor --since-last`, `--watch`."""

from __future__ import annotations

import json
import os
import re
import secrets as randomness
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mlops_infra.doctor.check import Severity
from mlops_infra.doctor.diagnosis import Diagnosed, Diagnosis
from mlops_infra.model.site import Site

__all__ = ["Memory", "News", "Remembered", "news_of", "news_shape", "recall", "remember"]

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


@dataclass(frozen=True, slots=True)
class Remembered:
    """A finding of an earlier look, root or follower. `since`: when it was first seen, without a break."""

    check: str
    host: str
    hosts: tuple[str, ...]
    brief: str
    severity: Severity
    since: datetime

    @property
    def key(self) -> str:
        """The same for the same trouble at another time: numbers (percent, days, counts) may differ."""
        where = self.host or ",".join(sorted(self.hosts))
        return f"{self.check}|{where}|{_NUMBER.sub('#', self.brief)}"


@dataclass(frozen=True, slots=True)
class Memory:
    """All that one whole look found."""

    at: datetime
    found: tuple[Remembered, ...] = ()


@dataclass(frozen=True, slots=True)
class News:
    """The difference of two looks. `last` is None where there was none before: then everything is new.

    `new`: findings, as they are told, that are new or worse than before, or explain something that is. `gone`:
    what is mended.
    `known`: how many findings were there before and are told no more. `now`: what to remember.
    """

    last: datetime | None
    new: tuple[Diagnosed, ...]
    gone: tuple[Remembered, ...]
    known: int
    now: Memory


def news_of(found: Diagnosis, last: Memory | None, at: datetime) -> News:
    """Compares a look with the one before.

    What could not be asked this time is neither gone nor forgotten.
    """
    before = {one.key: one for one in last.found} if last else {}
    now = {one.key: one for one in _all(found, at)}
    now = {key: _since(one, before.get(key)) for key, one in now.items()}
    unasked = {(s.check, s.host) for s in found.skipped}
    missing = {key: one for key, one in before.items() if key not in now}
    silent = {key: one for key, one in missing.items() if (one.check, one.host) in unasked}
    new = tuple(one for one in found.findings if any(_is_new(_remembered(d, at), before) for d in _family(one)))
    return News(
        last.at if last else None,
        new,
        tuple(one for key, one in missing.items() if key not in silent),
        len(found.findings) - len(new),
        Memory(at, (*now.values(), *silent.values())),
    )


def _is_new(one: Remembered, before: Mapping[str, Remembered]) -> bool:
    return one.key not in before or one.severity < before[one.key].severity


def _all(found: Diagnosis, at: datetime) -> Iterator[Remembered]:
    for root in found.findings:
        for one in _family(root):
            yield _remembered(one, at)


def _family(root: Diagnosed) -> tuple[Diagnosed, ...]:
    return (root, *root.follows)


def _remembered(one: Diagnosed, at: datetime) -> Remembered:
    return Remembered(one.check, one.host, one.finding.hosts, one.finding.brief, one.severity, at)


def _since(one: Remembered, before: Remembered | None) -> Remembered:
    return replace(one, since=before.since) if before else one


# ---- where it is kept --------------------------------------------------------------------------------------------


def _place(site: Site) -> Path:
    return site.directory / "doctor.json"


def recall(site: Site) -> Memory | None:
    """The last look that was remembered; None where there is none, or where its file cannot be read."""
    try:
        said = json.loads(_place(site).read_text("utf-8"))
        found = tuple(
            Remembered(
                str(one["check"]),
                str(one["host"]),
                tuple(map(str, one["hosts"])),
                str(one["brief"]),
                Severity[str(one["severity"]).upper()],
                datetime.fromisoformat(one["since"]),
            )
            for one in said["findings"]
        )
        return Memory(datetime.fromisoformat(said["at"]), found)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(site: Site, memory: Memory) -> bool:
    """Writes it, 0600, the old or the new and never a mix. False where it cannot be written: that mends nobody."""
    text = json.dumps({"at": memory.at.isoformat(), "findings": [_kept(one) for one in memory.found]}, indent=1)
    path = _place(site)
    staged = path.with_name(f".{path.name}.{randomness.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(text + "\n")
        staged.replace(path)
    except OSError:
        with suppress(OSError):
            staged.unlink()
        return False
    return True


def _kept(one: Remembered) -> dict[str, Any]:
    return {
        "check": one.check,
        "host": one.host,
        "hosts": list(one.hosts),
        "brief": one.brief,
        "severity": one.severity.word,
        "since": one.since.isoformat(),
    }


def news_shape(news: News, *, whole: bool) -> dict[str, Any]:
    """What `doctor --since-last --json` has beside the shape of a look (docs/reference/json.md).

    `whole`: the look was of everything; of a part nobody can say what is gone.
    """
    return {
        "last": news.last.isoformat() if news.last else None,
        "known": news.known,
        "gone": [_kept(one) for one in news.gone] if whole else [],
    }
