"""keepalived: the address that moves between the load balancers, where cluster.yaml names one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlops_infra.core import Change, Facts, Kind, Probe, ReadText, Resource, Shell
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.render import render
from mlops_infra.resources import File, Packages, UnitState, reload_unit

__all__ = ["VipGone", "keepalived_config", "vip_resources"]

_CONFIG = "/etc/keepalived/keepalived.conf"
_OURS = "# Written by mlops-infra."


def vip_resources(cluster: Cluster, host: Host) -> tuple[Resource, ...]:
    """After HAProxy: an address without anybody behind it helps nobody. Without a VIP, no keepalived of ours."""
    if cluster.lb.vip is None:
        return (VipGone(),)
    return (
        Packages("keepalived", {"keepalived": None, "procps": None}),
        File(
            _CONFIG,
            keepalived_config(cluster, host),
            check="keepalived -t -f {}",
            notifies=(reload_unit("keepalived.service"),),
        ),
        UnitState("keepalived.service", enabled=True, active=True),
    )


@dataclass(frozen=True, slots=True)
class VipGone:
    """Nobody holds an address that was taken out of cluster.yaml; a keepalived of somebody else's is left alone."""

    @property
    def id(self) -> str:
        return "vip-gone"

    @property
    def title(self) -> str:
        return "no floating address"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({ReadText(_CONFIG)})

    def diff(self, facts: Facts) -> Change | None:
        if not (facts.value(ReadText(_CONFIG)) or "").startswith(_OURS):
            return None
        # The file goes last: as long as it lies there, the next run knows that there is something to stop.
        script = (
            "systemctl -q disable keepalived.service 2>/dev/null || :\n"
            "case $(systemctl show -p LoadState keepalived.service) in\n"
            "*=not-found) ;;\n*) systemctl stop keepalived.service || exit 1 ;;\nesac\n"
            f"rm -f {_CONFIG}\n"
        )
        return Change(
            self.id, self.title, Kind.REMOVE, "lb.vip is not in cluster.yaml, and keepalived is ours",
            (Shell("stop keepalived and remove its configuration", script),), disruptive=True,
        )  # fmt: skip


def keepalived_config(cluster: Cluster, host: Host) -> str:
    """keepalived.conf of one load balancer. Peers speak unicast: many networks carry no multicast."""
    vip, balancers = cluster.lb.vip, cluster.hosts.lb
    assert vip is not None
    interface = host.interface or vip.interface
    assert interface is not None, "checked when the file is read"
    return render(
        "keepalived/keepalived.conf.j2",
        host=host,
        peers=[other for other in balancers if other.name != host.name],
        interface=interface,
        router_id=vip.router_id,
        priority=150 - balancers.index(host),
        address=vip.address,
    )
