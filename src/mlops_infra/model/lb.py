"""The load balancer in front of API and ingress."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlops_infra.model.base import Address, Duration, Interface, NodePort, Noun, Port, Word
from mlops_infra.model.secret import SecretSource

__all__ = ["Ingress", "LoadBalancer", "Stats", "Timeouts", "Vip"]


class Stats(Noun):
    port: Port = 8404
    """HAProxy's statistics page, `/stats`."""
    user: Word = "admin"
    password: SecretSource = SecretSource(generate=True)


class Ingress(Noun):
    http_port: Port = 80
    """Listens on the load balancer."""
    https_port: Port = 443
    """Listens on the load balancer."""
    http_node_port: NodePort = 32624
    """Where the ingress controller's Service listens on every worker."""
    https_node_port: NodePort = 31316
    """As above, for HTTPS."""


class Timeouts(Noun):
    """HAProxy times, as HAProxy writes them. A connect that takes half a second in one network is a dead server: it is
    given up early and another one asked. The tunnel lets `kubectl exec` and `logs -f` be silent for hours."""

    connect: Duration = "500ms"
    client: Duration = "1m"
    server: Duration = "1m"
    tunnel: Duration = "4h"
    check: Duration = "1s"


class Vip(Noun):
    """A floating address that keepalived moves between the load balancers."""

    address: Address
    """A free address in the hosts' network."""
    interface: Interface | None = None
    """Where it is added; unset: each load balancer names its own `interface`."""
    router_id: int = Field(default=51, ge=1, le=255)
    """VRRP's virtual router id: unique among the clusters of one network."""


class LoadBalancer(Noun):
    api_port: Port = 6443
    """Port of the API on the load balancer."""
    external: Address | None = None
    """Address of a load balancer that somebody else runs; then `hosts.lb` is empty."""
    stats: Stats = Stats()
    ingress: Ingress = Ingress()
    balance: Literal["roundrobin", "leastconn"] = "roundrobin"
    """How HAProxy chooses a server."""
    timeouts: Timeouts = Timeouts()
    max_connections: int = Field(default=8000, ge=1)
    """HAProxy's `maxconn`."""
    vip: Vip | None = None
