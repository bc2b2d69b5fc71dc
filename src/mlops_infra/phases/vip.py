"""keepalived: the address that moves between the load balancers, where cluster.yaml names one."""

from __future__ import annotations

from mlops_infra.core import Resource
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.render import render
from mlops_infra.resources import File, Packages, UnitState, reload_unit

__all__ = ["keepalived_config", "vip_resources"]


def vip_resources(cluster: Cluster, host: Host) -> tuple[Resource, ...]:
    """Nothing without a VIP. Otherwise after HAProxy: an address without anybody behind it helps nobody."""
    if cluster.lb.vip is None:
        return ()
    return (
        Packages("keepalived", {"keepalived": None, "procps": None}),
        File(
            "/etc/keepalived/keepalived.conf",
            keepalived_config(cluster, host),
            check="keepalived -t -f {}",
            notifies=(reload_unit("keepalived.service"),),
        ),
        UnitState("keepalived.service", enabled=True, active=True),
    )


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
