"""Addresses for Services of type LoadBalancer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from mlops_infra.model.base import DnsName, Noun

__all__ = ["ADDRESS_POOL", "DEFAULT_POOL", "MetalLB"]

ADDRESS_POOL = "metallb.universe.tf/address-pool"
"""The annotation by which a Service asks for an address of one pool."""
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

    def asked_for(self) -> dict[str, str]:
        """The annotation of Services that try the platform out: a pool that somebody made by hand may lack an
        advertisement, and says nothing of ours. Empty where the file names no pool."""
        first = next(self.by_name(), None) if self.enabled else None
        return {ADDRESS_POOL: first[0]} if first else {}
