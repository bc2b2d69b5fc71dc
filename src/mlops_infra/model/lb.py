"""The load balancer in front of API and ingress."""

from __future__ import annotations

from typing import Literal

from mlops_infra.model.base import Noun
from mlops_infra.model.secret import SecretSource

__all__ = ["Ingress", "LoadBalancer", "Stats", "Timeouts", "Vip"]


class Stats(Noun):
    port: int = 8404
    user: str = "admin"
    password: SecretSource = SecretSource(generate=True)


class Ingress(Noun):
    http_port: int = 80
    https_port: int = 443
    http_node_port: int = 32624
    https_node_port: int = 31316


class Timeouts(Noun):
    """HAProxy times, as HAProxy writes them. Connect, check and tunnel values: lab.md 10, domain.md 2.2."""

    connect: str = "500ms"
    client: str = "1m"
    server: str = "1m"
    tunnel: str = "4h"
    check: str = "1s"


class Vip(Noun):
    """A floating address that keepalived moves between the load balancers."""

    address: str
    interface: str | None = None
    router_id: int = 51


class LoadBalancer(Noun):
    api_port: int = 6443
    external: str | None = None
    """Address of a load balancer that somebody else runs; then `hosts.lb` is empty."""
    stats: Stats = Stats()
    ingress: Ingress = Ingress()
    balance: Literal["roundrobin", "leastconn"] = "roundrobin"
    timeouts: Timeouts = Timeouts()
    max_connections: int = 8000
    vip: Vip | None = None
