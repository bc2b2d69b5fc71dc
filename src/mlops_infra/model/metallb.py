"""Addresses for Services of type LoadBalancer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from mlops_infra.model.base import DnsName, Noun

__all__ = ["DEFAULT_POOL", "MetalLB"]

DEFAULT_POOL = "default-pool"

AddressRange = Annotated[str, "10.110.190.100-10.110.190.110 or 10.110.190.96/28"]


class MetalLB(Noun):
    pool: tuple[AddressRange, ...] = ()
    """Address ranges, e.g. `10.110.190.100-10.110.190.110`: the pool `default-pool`. Without any pool MetalLB is
    installed, and Services wait for an address."""
    pools: dict[DnsName, tuple[AddressRange, ...]] = Field(default_factory=dict)
    """More pools by name, for Services that ask for one with the annotation `metallb.universe.tf/address-pool`."""
    enabled: bool = True
    """False: not installed, and taken away where this program installed it."""

    def by_name(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """All pools that have ranges, `default-pool` first."""
        if self.pool:
            yield DEFAULT_POOL, self.pool
        yield from ((name, ranges) for name, ranges in self.pools.items() if ranges)
