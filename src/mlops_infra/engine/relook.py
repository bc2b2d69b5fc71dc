"""Taking the run lock and looking again: what is applied is judged by what holds once nobody else writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlops_infra.core import Facts, Plan
from mlops_infra.engine.connect import Connections, Master, observe_all, split_answers
from mlops_infra.engine.lock import RunLock
from mlops_infra.engine.observation import Observation, Questions, known, questions
from mlops_infra.engine.wire import Look, Wire

__all__ = ["lock_and_observe"]


def lock_and_observe(
    lock: RunLock,
    connections: Connections,
    wire: Wire,
    asked: Questions,
    masters: Sequence[Master],
    *,
    plan: Plan,
    seen: Observation,
) -> Observation:
    """Every host is observed again: in the lock's own channel where it has one, so that this costs a channel a host.

    The lock lies on the masters; before there is a control plane, on every host that the plan changes. Raises what
    `RunLock.acquire` does.
    """
    by_name = {m.name: m for m in masters}
    control = _masters_too(connections, wire, asked, masters, seen)
    gone = {p.host for p in (*seen.problems, *control.problems) if p.unreachable}
    if control.has_control_plane(by_name):
        hosts, of = [m for m in by_name if m not in gone], len(by_name)
    else:
        touched = {s.id.host for s in plan.steps}
        there = [h for h in asked.hosts if h not in gone]
        hosts = [h for h in there if h in touched] or there
        of = len(hosts)
    looks = {h: _look(h, asked, seen, by_name) for h in hosts if h in asked.hosts}
    locked = lock.acquire(hosts, of=of, looks=looks)
    rest = Questions({h: p for h, p in asked.hosts.items() if h not in locked and h not in gone}, frozenset())
    if seen.api_host is not None and seen.api_host not in locked:
        rest = replace(rest, api=asked.api)
    others = observe_all(connections, wire, rest, masters, lambda event: None)
    facts = {h: split_answers(f, asked.hosts[h]) for h, f in locked.items()} | dict(others.facts)
    api, api_host = (others.api, others.api_host) if rest.api else (seen.api, seen.api_host)
    if seen.api_host is not None and seen.api_host in locked:
        api = Facts({p: locked[seen.api_host].answer(p) for p in asked.api})
        api_host = seen.api_host if known(api, asked.api) else None
    still = tuple(p for p in seen.problems if p.host in gone)
    return Observation({h: facts[h] for h in asked.hosts if h in facts}, api, api_host, still + others.problems)


def _masters_too(
    connections: Connections, wire: Wire, asked: Questions, masters: Sequence[Master], seen: Observation
) -> Observation:
    """A limited run may not have asked the masters, but whether there is a control plane decides what is locked."""
    missing = [m.name for m in masters if m.name not in asked.hosts]
    if not missing:
        return seen
    more = observe_all(connections, wire, questions((), missing, missing), (), lambda event: None)
    return replace(more, facts={**more.facts, **seen.facts})


def _look(host: str, asked: Questions, seen: Observation, masters: Mapping[str, Master]) -> Look:
    if host == seen.api_host:
        return Look(asked.hosts[host] | asked.api, masters[host].endpoint)
    return Look(asked.hosts[host])
