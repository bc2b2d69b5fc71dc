"""Questions to Prometheus and Alertmanager, put through a master and the API server's proxy: no port need be open."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any
from urllib.parse import quote as escaped

from mlops_infra.core import Command, CommandFact, Facts
from mlops_infra.phases.prometheus import NAMESPACE
from mlops_infra.resources import kubectl_prelude

__all__ = [
    "Sample",
    "alertmanager_path",
    "answers_of",
    "ask_script",
    "asked",
    "prometheus_path",
    "read_answers",
    "samples",
]

_SERVICES = f"/api/v1/namespaces/{NAMESPACE}/services"
_MARK = "@@@"
_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of an instant query's answer."""

    labels: Mapping[str, str]
    value: float


def prometheus_path(query: str) -> str:
    """Of an instant query."""
    return f"{_SERVICES}/prometheus-server:web/proxy/api/v1/query?query={escaped(query, safe='')}"


def alertmanager_path(path: str) -> str:
    """Of something of Alertmanager's API, `/api/v2/…`."""
    return f"{_SERVICES}/alertmanager:web/proxy{path}"


def ask_script(paths: Sequence[str]) -> str:
    """Reads each path; what cannot be had leaves its place empty."""
    calls = "".join(
        f"echo {_MARK}; kubectl get --request-timeout={_SECONDS}s --raw {quote(path)} 2>/dev/null || :; echo\n"
        for path in paths
    )
    return kubectl_prelude() + calls


def asked(name: str, paths: Sequence[str]) -> Command:
    """The same as a question of a look; `name` tells it from others."""
    return Command(f"raw:{name}", ask_script(paths), timeout=_SECONDS * len(paths) + 5)


def read_answers(text: str, count: int) -> tuple[Any, ...]:
    """The JSON of each path; None for what could not be had."""
    parts = [part.strip() for part in text.split(f"{_MARK}\n")[1:]]
    return tuple(_json(parts[index]) if index < len(parts) else None for index in range(count))


def answers_of(facts: Facts, question: Command, count: int) -> tuple[Any, ...] | None:
    """None where the host did not answer at all."""
    fact = facts.answer(question)
    return read_answers(fact.stdout, count) if isinstance(fact, CommandFact) and fact.rc == 0 else None


def samples(answer: Any) -> tuple[Sample, ...] | None:
    """Of an instant query; None where there is no answer."""
    if not isinstance(answer, Mapping) or answer.get("status") != "success":
        return None
    found = answer.get("data", {}).get("result", [])
    return tuple(Sample(one["metric"], float(one["value"][1])) for one in found)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
