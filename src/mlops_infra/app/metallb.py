"""`metallb set-pool` and `metallb status`: pools changed with care for the addresses in use."""

from __future__ import annotations

import ipaddress
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlops_infra.app.api_silence import nothing_known
from mlops_infra.app.arp import Heard, arp_question, heard
from mlops_infra.app.metallb_state import Balanced, MetallbState, metallb_questions, ranges_of, state_of
from mlops_infra.app.platform import Platform
from mlops_infra.core import Command
from mlops_infra.engine.run import Engine
from mlops_infra.errors import InfraError, UnreachableError, UsageError
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.edit import remove_value, set_value
from mlops_infra.model.hosts import Host
from mlops_infra.model.load import load_text
from mlops_infra.model.metallb import DEFAULT_POOL
from mlops_infra.model.pool_ranges import addresses_in, completed, count, written
from mlops_infra.model.problem import ConfigProblems
from mlops_infra.model.ranges import Range

__all__ = ["PoolChange", "Wanted", "look", "prepare", "refuse", "wait_until_answered"]

PROBED = 1024
"""Addresses of a range that are asked about by ARP; a larger range is asked about in its first ones."""
ANSWER_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for: the words of the ranges, and the pool's name."""

    words: tuple[str, ...]
    pool: str = DEFAULT_POOL
    allow_readdress: bool = False


@dataclass(frozen=True, slots=True)
class PoolChange:
    """What would change, for whom, and what forbids it. `text` is the new cluster.yaml."""

    pool: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    text: str = field(repr=False)
    keep: tuple[Balanced, ...] = ()
    lose: tuple[Balanced, ...] = ()
    waiting: tuple[Balanced, ...] = ()
    refusals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def look(platform: Platform) -> MetallbState:
    """What is there now, asked of the masters and, who announces, of the network. Raises UnreachableError where no API
    server answers."""
    cluster = platform.cluster
    with _engine_of(platform) as engine:
        state = _asked(engine)
        if not any(s.addresses for s in state.services):
            return state
        return _as_heard(cluster, state, _heard(engine, cluster, _who_announces(cluster, state)))


def prepare(platform: Platform, wanted: Wanted) -> PoolChange:
    """What the change would do, asked of the cluster and of the network; nothing is written.

    Raises UsageError for words that are no ranges, UnreachableError where no API server answers.
    """
    cluster, config = platform.cluster, platform.context.site.config
    try:
        ranges = completed(wanted.words, cluster.network.node_cidr)
    except ValueError as error:
        raise UsageError(str(error), remedy="mlops-infra metallb set-pool 10.110.190.100-110") from error
    prober = _prober(cluster)
    tested = [address for one in ranges for address in addresses_in(one, PROBED)][:PROBED]
    nodes = [host.node_address for host in cluster.all_hosts]
    question = arp_question(prober.node_address, [*nodes, *tested])
    with _engine_of(platform) as engine:
        seen = engine.observe({**metallb_questions(), prober.name: frozenset({question})})
    state = state_of(seen.api)
    found = heard(seen.of(prober.name), question)
    if not state.known:
        raise _unknown()
    text, problems = _edited(config, wanted.pool, ranges)
    change = _judge(cluster, wanted, ranges, state, text)
    refusals = [*problems, *_outside(cluster, ranges, found), *change.refusals]
    notes = list(change.notes)
    if isinstance(found, Heard):
        refusals += _taken(cluster, tested, state, found)
    else:
        notes.append(f"who answers ARP in the range could not be asked on {prober.name}: {found}")
    if sum(map(count, ranges)) > PROBED:
        notes.append(f"only the first {PROBED} addresses were asked about by ARP")
    return replace(change, refusals=tuple(dict.fromkeys(refusals)), notes=tuple(notes))


def refuse(change: PoolChange) -> None:
    """Raises InfraError while something forbids the change."""
    if change.refusals:
        lost = bool(change.lose) and any("would lose" in r for r in change.refusals)
        raise InfraError(
            f"The pool {change.pool} stays as it is, and so does cluster.yaml",
            details="\n".join(change.refusals),
            cause="An address in use must not vanish, and none must be announced that is somebody else's.",
            remedy="Take another range"
            + (", or let the Services named move with --allow-readdress." if lost else ", or free this one."),
        )


def wait_until_answered(
    platform: Platform, say: Callable[[str], None], seconds: float = ANSWER_SECONDS
) -> MetallbState:
    """Until every Service of type LoadBalancer has an address that answers ARP and takes a connection.

    Raises InfraError that names those that do not when the time is over.
    """
    cluster, end, said = platform.cluster, time.monotonic() + seconds, ""
    with _engine_of(platform) as engine:
        while True:
            state = _asked(engine)
            ports = [(a, s.ports[0]) for s in state.services for a in s.addresses if s.ports]
            found = _heard(engine, cluster, _who_announces(cluster, state, ports))
            silent = [why for s in state.services if (why := _silence(s, state, found))]
            if not silent:
                return _as_heard(cluster, state, found)
            if time.monotonic() > end:
                raise InfraError(
                    f"Not every Service answers after {seconds:.0f} s",
                    details="\n".join(silent),
                    cause="No ready pod stands behind the Service, the pool is full, or no speaker announces it.",
                    remedy="mlops-infra metallb status",
                )
            if "; ".join(silent) != said:
                said = "; ".join(silent)
                say(f"waiting: {said}")
            time.sleep(1)


def _engine_of(platform: Platform) -> Engine:
    """Over those who are asked: the masters of the API, the prober of the network."""
    cluster = platform.cluster
    return platform.engine_over(dict.fromkeys([_prober(cluster).name, *(h.name for h in cluster.hosts.masters)]))


def _heard(engine: Engine, cluster: Cluster, question: Command) -> Heard | str:
    prober = _prober(cluster).name
    return heard(engine.observe({prober: frozenset({question})}).of(prober), question)


def _who_announces(cluster: Cluster, state: MetallbState, ports: Iterable[tuple[str, int]] = ()) -> Command:
    """Asks the hosts too: their answers tell which machine has which MAC."""
    hosts = [host.node_address for host in cluster.all_hosts]
    return arp_question(
        _prober(cluster).node_address, [*hosts, *(a for s in state.services for a in s.addresses)], ports
    )


def _as_heard(cluster: Cluster, state: MetallbState, found: Heard | str) -> MetallbState:
    """With the nodes that answer ARP now. MetalLB's own word names a node that died until it is back, and lags behind.

    Where the asking host hears no other host either (another network segment), MetalLB's word stands.
    """
    if isinstance(found, str) or not any(found.answers.get(host.node_address) for host in cluster.all_hosts):
        return state
    names = _macs(cluster, found)

    def node(service: Balanced) -> str:
        macs = sorted(mac for address in service.addresses[:1] for mac in found.answers.get(address, ()))
        return ", ".join(dict.fromkeys(names.get(mac, mac) for mac in macs))

    return replace(state, services=tuple(replace(s, node=node(s)) for s in state.services))


def _asked(engine: Engine) -> MetallbState:
    state = state_of(engine.observe(metallb_questions()).api)
    if not state.known:
        raise _unknown()
    return state


def _silence(service: Balanced, state: MetallbState, found: Heard | str) -> str:
    """Why a Service does not serve at its address; empty when it does. What UDP serves cannot be tried."""
    if not service.addresses:
        return f"{service.full_name} has no address yet"
    pools = [r for pool in state.pools for r in ranges_of(pool.ranges)]
    if stale := [a for a in service.addresses if not _within(a, pools)]:
        return f"{service.full_name} still has {', '.join(stale)}, which is in no pool"
    if isinstance(found, str):
        return ""
    for address in service.addresses:
        if not found.answers.get(address) and address not in found.own:
            return f"{service.full_name}: nobody answers ARP for {address}"
        if service.ports and (address, service.ports[0]) not in found.serving:
            return f"{service.full_name}: {address} takes no connection on port {service.ports[0]}"
    return ""


def _prober(cluster: Cluster) -> Host:
    """The host that asks: a load balancer, else a master. None of them announces, so each hears who does."""
    return (*cluster.hosts.lb, *cluster.hosts.masters)[0]


def _edited(config: Path, pool: str, ranges: tuple[Range, ...]) -> tuple[str, list[str]]:
    """The new text of cluster.yaml, comments kept, and what would be wrong with it."""
    keys: tuple[str | int, ...] = ("metallb", "pool") if pool == DEFAULT_POOL else ("metallb", "pools", pool)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "cluster.yaml"
        copy.write_bytes(config.read_bytes())
        before = _current(load_text(copy.read_text("utf-8"), config).cluster, pool)
        if before:
            # Entry by entry: what people wrote beside an entry stays.
            for index, one in enumerate(ranges):
                set_value(copy, (*keys, index), written(one))
            for index in reversed(range(len(ranges), len(before))):
                remove_value(copy, (*keys, index))
        else:
            set_value(copy, keys, [written(one) for one in ranges])
        text = copy.read_text("utf-8")
    try:
        load_text(text, config)
    except ConfigProblems as wrong:
        return text, [problem.message for problem in wrong.problems]
    return text, []


def _current(cluster: Cluster, pool: str) -> tuple[str, ...]:
    return cluster.metallb.pool if pool == DEFAULT_POOL else cluster.metallb.pools.get(pool, ())


def _judge(cluster: Cluster, wanted: Wanted, ranges: tuple[Range, ...], state: MetallbState, text: str) -> PoolChange:
    """For whom it changes something. Addresses are compared with all pools as they would be then."""
    others = [r for name, texts in cluster.metallb.by_name() if name != wanted.pool for r in ranges_of(texts)]
    ours = {name for name, _ in cluster.metallb.by_name()} | {wanted.pool}
    # Pools that somebody made beside ours stay as they are.
    others += [r for p in state.pools if p.name not in ours for r in ranges_of(p.ranges)]
    then = [*ranges, *others]
    lose = tuple(s for s in state.services if s.addresses and not all(_within(a, then) for a in s.addresses))
    keep = tuple(s for s in state.services if s.addresses and s not in lose)
    refusals, notes = [], []
    if lose and not wanted.allow_readdress:
        refusals = [f"{s.full_name} would lose {', '.join(s.addresses)}" for s in lose]
    needed, room = len(state.services), sum(map(count, then))
    if needed > room:
        notes.append(f"{room} addresses for {needed} Services: {needed - room} will wait")
    before = _current(cluster, wanted.pool)
    after = tuple(written(one) for one in ranges)
    return PoolChange(wanted.pool, before, after, text, keep, lose, state.waiting, tuple(refusals), tuple(notes))


def _outside(cluster: Cluster, ranges: Iterable[Range], found: Heard | str) -> list[str]:
    """Ranges that leave the network of the hosts: ARP ends at the router."""
    network = cluster.network.node_cidr or (found.network if isinstance(found, Heard) else "")
    if not network:
        return []
    home = Range.of_network(str(ipaddress.ip_network(network, strict=False)))
    edges = {str(home.first): "the network's own address", str(home.last): "the broadcast address"}
    said = [f"{one} leaves the hosts' network {network}" for one in ranges if not home.covers(one)]
    said += [f"{one} holds {edge}, {what}" for one in ranges for edge, what in edges.items()
             if ipaddress.ip_address(edge) in one]  # fmt: skip
    return said


def _taken(cluster: Cluster, tested: Iterable[str], state: MetallbState, found: Heard) -> list[str]:
    """Addresses of the range that something answers for which is not our announcement of a Service."""
    nodes = _macs(cluster, found)
    # An address of a host that cluster.yaml names is refused as such, and in better words.
    hosts = {host.node_address for host in cluster.all_hosts}
    assigned = {address: s for s in state.services for address in s.addresses}
    said = []
    for address in (a for a in tested if a not in hosts):
        macs = found.answers.get(address, frozenset())
        if address in found.own:
            said.append(f"{address} is an address of {_prober(cluster).name}")
        strangers = sorted(mac for mac in macs if mac not in nodes)
        if strangers:
            said.append(f"{address} is in use: {', '.join(strangers)} answers ARP for it, which is none of the nodes")
        elif macs and address not in assigned:
            names = ", ".join(sorted(nodes[mac] for mac in macs))
            said.append(f"{address} is in use: {names} answers ARP for it, and no Service has it")
    return said


def _macs(cluster: Cluster, found: Heard) -> Mapping[str, str]:
    known = {mac: _prober(cluster).name for mac in found.own.values()}
    for host in cluster.all_hosts:
        known |= dict.fromkeys(found.answers.get(host.node_address, ()), host.name)
    return known


def _within(address: str, ranges: Iterable[Range]) -> bool:
    return any(ipaddress.ip_address(address) in one for one in ranges)


def _unknown() -> UnreachableError:
    return nothing_known(
        "nobody can say which addresses are in use",
        remedy="`mlops-infra up` builds it, with the pool of cluster.yaml; `mlops-infra status` says who answers.",
    )
