"""The firewall: a table of our own on every host, from the port matrix, that takes itself back where it locks out.

Two steps a host. `firewall` loads the rules on trial, with a timer on the host that undoes them in half a minute.
`firewall-kept` is begun with a new connection to the host (`Step.knocks`); only when that was let in are the rules
kept, and only rules that were kept are loaded at the next boot.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mlops_infra.core import (
    Change,
    Command,
    CommandFact,
    Facts,
    FailurePolicy,
    Handler,
    Kind,
    Phase,
    Probe,
    PutFile,
    Resource,
    Shell,
    Step,
    StepId,
)
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.ports import guarded_on
from mlops_infra.render import render
from mlops_infra.resources import File, Missing, Packages, UnitState, daemon_reload

__all__ = ["RulesKept", "RulesTried", "firewall_kept_phase", "firewall_phase", "rules"]

NAME, KEPT_NAME = "firewall", "firewall-kept"
SECONDS = 30
"""How long new rules stay when nobody gets in."""
_PEOPLE = 16
"""How many addresses of operators are remembered, newest last."""
_UNIT = "mlops-infra-firewall.service"
_SCRIPT = "/usr/local/lib/mlops-infra/mlops-infra-firewall"
_RUN = "/run/mlops-infra/firewall"
_TRIAL = f"{_RUN}/rules.nft"
_KEPT = "/etc/mlops-infra/firewall.nft"
_OPERATORS = "/etc/mlops-infra/firewall-operators"
_STATE = Command("firewall", f"[ -x {_SCRIPT} ] || exit 3\nexec {_SCRIPT} state\n")


def firewall_phase(cluster: Cluster, _: PhaseContext) -> Phase:
    """Last on every host: whatever it would stop has then been seen to work. Switched off, it takes itself away."""
    steps = tuple(
        Step(
            NAME,
            host.name,
            _resources(cluster, host) if cluster.security.firewall else _absent(),
            needs=frozenset({StepId("hosts", host.name)}),
            after=_joined(cluster, host) if cluster.security.firewall else frozenset(),
        )
        for host in cluster.all_hosts
    )
    return Phase(NAME, "Firewall", steps, FailurePolicy(0.0))


def firewall_kept_phase(cluster: Cluster, _: PhaseContext) -> Phase:
    """The proof, from outside: hosts that are not reached any more take the rules back by themselves."""
    hosts = cluster.all_hosts if cluster.security.firewall else ()
    steps = tuple(
        Step(
            KEPT_NAME,
            host.name,
            (RulesKept(rules(cluster, host)),),
            needs=frozenset({StepId(NAME, host.name)}),
            knocks=True,
        )
        for host in hosts
    )
    return Phase(KEPT_NAME, "Firewall kept", steps)


def rules(cluster: Cluster, host: Host) -> str:
    """The table of one host as nftables reads it. `operators4` and `operators6` grow on the host."""
    guards = tuple(guarded_on(cluster, cluster.role(host.name)))
    pods = f"{'ip6' if ':' in cluster.network.pod_cidr else 'ip'} saddr {cluster.network.pod_cidr}"
    if cluster.network.cni == "flannel":
        # From outside nobody is a pod, whatever address he writes on his packets.
        pods = f'iifname {{ "cni0", "flannel.1" }} {pods}'
    return render(
        "firewall/rules.nft.j2",
        sets=[(f"{name}{family}", found) for name, all in _sets(cluster) for family, found in _families(all)],
        guards=guards,
        chains=list(dict.fromkeys(guard.peers for guard in guards)),
        pods=pods,
    )


@dataclass(frozen=True, slots=True)
class RulesTried:
    """These rules are loaded: kept already, or on trial."""

    text: str = field(repr=False)

    @property
    def id(self) -> str:
        return "firewall:rules"

    @property
    def title(self) -> str:
        return "the firewall's rules"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({_STATE})

    def diff(self, facts: Facts) -> Change | None:
        there = _there(facts)
        wanted = _digest(self.text)
        if (
            there.get("loaded") == "yes"
            and wanted in (there.get("kept"), there.get("trial"))
            and not there.get("outside")
        ):
            return None
        put = PutFile(_TRIAL, self.text.encode(), 0o600, check="nft -c -f {}")
        run = Shell(f"load them, on trial for {SECONDS} s", f"{_SCRIPT} try\n", 30)
        return Change(
            self.id, self.title, Kind.UPDATE if there.get("kept") else Kind.CREATE, _reason(there, wanted), (put, run)
        )


@dataclass(frozen=True, slots=True)
class RulesKept:
    """The rules were tried, somebody came in anew, and so they stay."""

    text: str = field(repr=False)

    @property
    def id(self) -> str:
        return "firewall:kept"

    @property
    def title(self) -> str:
        return "the firewall's rules stay"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({_STATE})

    def diff(self, facts: Facts) -> Change | None:
        there = _there(facts)
        loaded = there.get("loaded") == "yes" and not there.get("outside")
        if loaded and there.get("kept") == _digest(self.text) and not there.get("trial"):
            return None
        keep = Shell("keep them: a new connection was let in", f"{_SCRIPT} keep\n", 30)
        return Change(self.id, self.title, Kind.RUN, "once a new connection is let in", (keep,))


def _resources(cluster: Cluster, host: Host) -> tuple[Resource, ...]:
    script = render(
        "firewall/firewall.sh.j2",
        run=_RUN, trial=_TRIAL, kept=_KEPT, people=_OPERATORS, seconds=SECONDS, most_people=_PEOPLE,
    )  # fmt: skip
    unit = render("firewall/firewall.service.j2", script=_SCRIPT)
    return (
        Packages("firewall", {"nftables": None}),
        File(_SCRIPT, script, mode=0o755),
        File(f"/etc/systemd/system/{_UNIT}", unit, notifies=(daemon_reload(),)),
        UnitState(_UNIT, enabled=True),
        RulesTried(rules(cluster, host)),
    )


def _absent() -> tuple[Resource, ...]:
    """Where it was on: the table goes with the file that would load it again."""
    gone = Handler(
        "stop:mlops-infra-firewall",
        f"systemctl -q disable --now {_UNIT} 2>/dev/null || :\n"
        "nft list table inet mlops_infra >/dev/null 2>&1 || exit 0\nnft delete table inet mlops_infra\n",
        order=5,
        title="take the firewall's table away",
    )
    return (
        Missing(f"/etc/systemd/system/{_UNIT}", notifies=(gone, daemon_reload())),
        Missing(_KEPT, notifies=(gone,)),
        Missing(_OPERATORS),
        Missing(_SCRIPT),
    )


def _joined(cluster: Cluster, host: Host) -> frozenset[StepId]:
    """What makes the host part of the platform: rules that come before it would be part of a fresh install's risk."""
    role = cluster.role(host.name)
    if role == "lb":
        return frozenset({StepId("lb", host.name)})
    return frozenset({StepId("control-plane" if role == "master" else "workers", host.name)})


def _sets(cluster: Cluster) -> Iterable[tuple[str, list[str]]]:
    masters, nodes = _addresses(cluster.hosts.masters), _addresses(cluster.nodes)
    hosts = _addresses(cluster.all_hosts)
    # Where connections to nodes come from that a load balancer of somebody else's makes.
    others = (cluster.lb.vip.address if cluster.lb.vip else "", cluster.lb.external or "")
    hosts += [address for address in others if _is_address(address)]
    yield from (("masters", masters), ("nodes", nodes), ("hosts", list(dict.fromkeys(hosts))))
    yield "operators", list(cluster.security.allow_from)


def _addresses(hosts: Iterable[Host]) -> list[str]:
    """Both addresses of each, where it has two: which one a packet carries is the routing's matter."""
    return list(dict.fromkeys(a for host in hosts for a in (host.node_address, host.address) if _is_address(a)))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _families(addresses: list[str]) -> Iterable[tuple[str, list[str]]]:
    yield "4", [a for a in addresses if ":" not in a]
    yield "6", [a for a in addresses if ":" in a]


def _there(facts: Facts) -> dict[str, str]:
    fact = facts.answer(_STATE)
    if not isinstance(fact, CommandFact) or fact.rc != 0:
        return {}
    return {key: value for key, _, value in (line.partition(" ") for line in fact.stdout.splitlines())}


def _reason(there: dict[str, str], wanted: str) -> str:
    if not there.get("kept"):
        return "not there yet"
    if there["kept"] != wanted:
        return "other rules are wanted"
    if there.get("loaded") != "yes":
        return "the table in the kernel is not as it was loaded"
    return f"{there['outside']}, where you come from, is not let in" if there.get("outside") else "not kept yet"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
