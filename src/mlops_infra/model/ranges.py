"""Ranges of addresses: networks and pools alike, as first and last address."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

__all__ = ["Range"]

IP = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses from `first` to `last`, both included, of one family."""

    first: IP
    last: IP

    @classmethod
    def parse(cls, text: str) -> Range:
        """`10.0.0.0/24` or `10.0.0.1-10.0.0.9`. Raises ValueError with a sentence that says why not."""
        if "-" not in text:
            if "/" not in text:
                raise ValueError(f"`{text}` is not a range such as 10.0.0.100-10.0.0.110 or 10.0.0.96/28")
            return cls.of_network(text)
        low, _, high = text.partition("-")
        try:
            first, last = ipaddress.ip_address(low.strip()), ipaddress.ip_address(high.strip())
        except ValueError:
            raise ValueError(f"`{text}` is not a range such as 10.0.0.100-10.0.0.110") from None
        if first.version != last.version:
            raise ValueError(f"`{text}` begins in IPv{first.version} and ends in IPv{last.version}")
        if int(first) > int(last):
            raise ValueError(f"`{text}` ends before it begins")
        return cls(first, last)

    @classmethod
    def of_network(cls, text: str) -> Range:
        """A network. Raises ValueError."""
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            raise ValueError(f"`{text}` is not a network: {error}") from None
        return cls(network.network_address, network.broadcast_address)

    @property
    def version(self) -> int:
        return self.first.version

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address):
            return False
        return address.version == self.version and int(self.first) <= int(address) <= int(self.last)

    def overlaps(self, other: Range) -> bool:
        """Whether an address lies in both; never across families."""
        return (
            self.version == other.version and int(self.first) <= int(other.last) and int(other.first) <= int(self.last)
        )

    def covers(self, other: Range) -> bool:
        """Whether all of the other lies in this one."""
        return other.first in self and other.last in self
