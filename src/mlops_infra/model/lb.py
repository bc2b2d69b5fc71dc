"""The load balancer in front of API and ingress."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlops_infra.model.base import Address, Duration, Interface, NodePort, Noun, Port, Word
from mlops_infra.model.secret import SecretSource

__all__ = ["Ingress", "LoadBalancer", "Stats", "Timeouts", "Vip"]


class Stats(Noun):
    port: Port = 8404
    user: Word = "admin"
    password: SecretSource = SecretSource(generate=True)


class Ingress(Noun):
    http_port: Port = 80
    https_port: Port = 443
    http_node_port: NodePort = 32624
    https_node_port: NodePort = 31316


class Timeouts(Noun):
    """HAProxy times, as HAProxy writes them. Connect, check and tunnel values: lab.md 10, domain.md 2.2."""

    connect: Duration = "500ms"
    client: Duration = "1m"
    server: Duration = "1m"
    tunnel: Duration = "4h"
    check: Duration = "1s"


class Vip(Noun):
    """A floating address that keepalived moves between the load balancers."""

    address: Address
    interface: Interface | None = None
    router_id: int = Field(default=51, ge=1, le=255)
    """VRRP's virtual router id: unique among the clusters of one network."""


class LoadBalancer(Noun):
    api_port: Port = 6443
    external: Address | None = None
    """Address of a load balancer that somebody else runs; then `hosts.lb` is empty."""
    stats: Stats = Stats()
    ingress: Ingress = Ingress()
    balance: Literal["roundrobin", "leastconn"] = "roundrobin"
    timeouts: Timeouts = Timeouts()
    max_connections: int = Field(default=8000, ge=1)
    vip: Vip | None = None
