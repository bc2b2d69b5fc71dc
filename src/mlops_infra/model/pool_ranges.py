"""Address ranges as people write them on a command line, and as cluster.yaml keeps them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from mlops_infra.model.ranges import Range

__all__ = ["addresses_in", "completed", "count", "written"]


def completed(words: Iterable[str], network: str | None) -> tuple[Range, ...]:
    """`10.0.0.100-110`, `.100-.110`, `.100-110` (completed from the hosts' network), `10.0.0.100-10.0.0.110`, a CIDR,
    or one address; several also with commas. Raises ValueError with a sentence that says why not."""
    parts = [part for word in words for part in re.split(r"[,\s]+", word) if part]
    if not parts:
        raise ValueError("no range is named")
    return tuple(_range(part, network) for part in parts)


def written(range_: Range) -> str:
    """As cluster.yaml says it, and MetalLB reads it."""
    return str(range_)


def count(range_: Range) -> int:
    return int(range_.last) - int(range_.first) + 1


def addresses_in(range_: Range, limit: int) -> list[str]:
    """The first `limit` addresses."""
    return [str(range_.first + offset) for offset in range(min(count(range_), limit))]


def _range(text: str, network: str | None) -> Range:
    if "/" in text:
        return Range.of_network(text)
    low, dash, high = text.partition("-")
    first = _address(low, text, network)
    if not dash:
        return Range(first, first)
    # `-110` and `-.110`: the rest is the first address's own.
    if re.fullmatch(r"\.?\d+(\.\d+){0,2}", high) and isinstance(first, ipaddress.IPv4Address):
        tail = high.lstrip(".").split(".")
        high = ".".join([*str(first).split(".")[: 4 - len(tail)], *tail])
    return Range.parse(f"{first}-{high}")


def _address(text: str, whole: str, network: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if re.fullmatch(r"\.\d+(\.\d+){0,2}", text):
        if network is None:
            raise ValueError(f"`{whole}` leaves out its beginning, and no `network.node_cidr` says what it is")
        base = str(ipaddress.ip_network(network).network_address).split(".")
        tail = text.lstrip(".").split(".")
        text = ".".join([*base[: 4 - len(tail)], *tail])
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"`{whole}` is not a range such as 10.0.0.100-110, .100-.110 or 10.0.0.96/28") from None
