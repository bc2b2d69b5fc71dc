"""The latest facts of a run, shared by its threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from mlops_infra.core import API, Facts, Probe
from mlops_infra.engine.observation import Observation, is_api_probe

__all__ = ["World"]


class World:
    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        self._lock = threading.Lock()
        self._api_host = observation.api_host

    @property
    def observation(self) -> Observation:
        with self._lock:
            return self._observation

    @property
    def api_host(self) -> str | None:
        """The master that last answered for the API."""
        with self._lock:
            return self._api_host

    def api_answered(self, host: str | None) -> None:
        with self._lock:
            self._api_host = host

    def of(self, host: str) -> Facts:
        with self._lock:
            return self._observation.of(host)

    def learn(self, host: str, facts: Mapping[Probe[Any], Any]) -> None:
        """Keep newer answers; those about the API are for everybody."""
        with self._lock:
            seen = self._observation
            if host == API:
                seen = seen.with_facts(API, facts)
            else:
                api = {p: a for p, a in facts.items() if is_api_probe(p)}
                seen = seen.with_facts(host, {p: a for p, a in facts.items() if p not in api})
                if api:
                    seen = seen.with_facts(API, api)
            self._observation = seen
