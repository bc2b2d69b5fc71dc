"""`events`: what the cluster says that happened, newest first, told once per cause."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlops_infra.app.api_silence import not_asked
from mlops_infra.app.platform import Platform
from mlops_infra.core import API, ApiList
from mlops_infra.engine.run import Engine
from mlops_infra.errors import InfraError

__all__ = ["EVENTS", "Folded", "events_shape", "fold", "look", "look_once", "watch"]

EVENTS = ApiList("events")
_OBJECTS = 5


@dataclass(frozen=True, slots=True)
class Folded:
    """Events of one cause. `count`: how often in all; `objects`: what it happened to; `message`: of the newest."""

    last: datetime
    first: datetime
    warning: bool
    reason: str
    message: str
    objects: tuple[str, ...]
    count: int


def look(engine: Engine) -> tuple[Mapping[str, Any], ...]:
    """The events of all namespaces, from whichever master answers. Raises InfraError when none does."""
    seen = engine.observe({API: frozenset({EVENTS})})
    found = seen.api.value(EVENTS)
    if found is None:
        raise not_asked("for events", seen)
    return found


def look_once(platform: Platform) -> tuple[Mapping[str, Any], ...]:
    """`look`, over connections of its own."""
    with _engine_of(platform) as engine:
        return look(engine)


def watch(
    platform: Platform,
    interval: float,
    say: Callable[[str], None],
    *,
    warnings: bool = False,
    about: Iterable[str] = (),
) -> Iterator[list[Folded]]:
    """What is new since the look before, oldest first, for ever; first what there is.

    While no API server answers, that is said once and asked again, over new connections. Raises InfraError when the
    first look already fails.
    """
    told: set[object] = set()
    engine, silent, first = _engine_of(platform), "", True
    try:
        while True:
            try:
                found = fold(look(engine), warnings=warnings, about=about)
                silent = ""
            except InfraError as error:
                if first:
                    raise
                if error.brief != silent:
                    say(f"{error.brief}; asking again every {interval:g} s")
                silent, found = error.brief, []
            first = False
            seen = engine.observation
            if silent or seen is None or seen.problems:
                # An engine does not try a host twice that failed.
                engine.close()
                engine = _engine_of(platform)
            fresh = [one for one in reversed(found) if _mark(one) not in told]
            told = {_mark(one) for one in found} or told
            if fresh:
                yield fresh
            time.sleep(interval)
    finally:
        engine.close()


def _mark(one: Folded) -> object:
    return one.objects, one.reason, one.last, one.count


def _engine_of(platform: Platform) -> Engine:
    """An engine over the masters alone: nobody else can answer."""
    return platform.engine_over(host.name for host in platform.cluster.hosts.masters)


def fold(events: Iterable[Mapping[str, Any]], *, warnings: bool = False, about: Iterable[str] = ()) -> list[Folded]:
    """Newest first. `warnings` leaves the others out; `about`: only what names one of these hosts."""
    hosts = set(about)
    groups: dict[tuple[str, str, str, str], list[Mapping[str, Any]]] = {}
    for event in events:
        if warnings and event.get("type") != "Warning":
            continue
        if hosts and not hosts & _hosts(event):
            continue
        groups.setdefault(_cause(event), []).append(event)
    return sorted((_folded(group) for group in groups.values()), key=lambda f: f.last, reverse=True)


def _hosts(event: Mapping[str, Any]) -> set[str]:
    involved = event.get("involvedObject") or {}
    named = {(event.get("source") or {}).get("host", ""), event.get("reportingInstance", "")}
    return named | ({involved.get("name", "")} if involved.get("kind") == "Node" else set())


def _cause(event: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Events with the same reason and message but for names, numbers and ids, of the same kind and namespace."""
    involved = event.get("involvedObject") or {}
    message = event.get("message") or ""
    whole = involved.get("name") or ""
    for name in (whole, whole.rpartition("-")[0]):  # the longer first: the other is its beginning
        message = message.replace(name, "·") if len(name) > 3 else message
    message = re.sub(r"·(-[a-z0-9]{4,10})+\b", "·", message)  # what it made: its own name and a random end
    message = re.sub(r"\b[0-9a-f]{8,}(-[0-9a-f]{4,})*\b|\d+(\.\d+)*", "·", message)
    return involved.get("kind", ""), involved.get("namespace", ""), event.get("reason") or "", message


def _folded(group: list[Mapping[str, Any]]) -> Folded:
    newest = max(group, key=_last)
    objects = dict.fromkeys(_object(e) for e in sorted(group, key=_last, reverse=True))
    return Folded(
        _last(newest),
        min(_first(e) for e in group),
        newest.get("type") == "Warning",
        newest.get("reason") or "",
        (newest.get("message") or "").strip(),
        tuple(objects),
        sum(_count(e) for e in group),
    )


def _object(event: Mapping[str, Any]) -> str:
    involved = event.get("involvedObject") or {}
    space = f"{involved['namespace']}/" if involved.get("namespace") else ""
    return f"{str(involved.get('kind', '')).lower()} {space}{involved.get('name', '')}"


def _count(event: Mapping[str, Any]) -> int:
    return int(event.get("count") or (event.get("series") or {}).get("count") or 1)


def _last(event: Mapping[str, Any]) -> datetime:
    series = event.get("series") or {}
    return _time(series.get("lastObservedTime") or event.get("lastTimestamp") or _made(event))


def _first(event: Mapping[str, Any]) -> datetime:
    return _time(event.get("firstTimestamp") or _made(event))


def _made(event: Mapping[str, Any]) -> Any:
    return event.get("eventTime") or (event.get("metadata") or {}).get("creationTimestamp")


def _time(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def events_shape(found: Iterable[Folded]) -> dict[str, Any]:
    return {
        "events": [
            {
                "last": f.last.isoformat(),
                "first": f.first.isoformat(),
                "warning": f.warning,
                "reason": f.reason,
                "message": f.message,
                "objects": list(f.objects),
                "count": f.count,
            }
            for f in found
        ]
    }
