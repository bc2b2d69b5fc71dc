"""What all nouns of cluster.yaml share: the base class, and the kinds of text that stand in more than one of them."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["Address", "Cidr", "HostOrAddress", "Label", "Noun", "Port", "Text"]

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Noun(BaseModel):
    """A frozen part of cluster.yaml; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


def _address(value: str) -> str:
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        hint = ": an address has no prefix length" if "/" in value else ""
        raise ValueError(f"`{value}` is not an IP address{hint}") from None
    return str(found)


def _cidr(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"`{value}` is not a network such as 10.244.0.0/16") from None
    raise ValueError(f"`{value}` has host bits set: the network is {meant}")


def is_dns_name(value: str) -> bool:
    """Whether this is an RFC 1123 subdomain: lower-case labels of letters, digits and hyphens, 253 in all."""
    return len(value) <= 253 and all(DNS_LABEL.fullmatch(label) for label in value.split("."))


def _dns_name(value: str) -> str:
    if not is_dns_name(value):
        raise ValueError(f"`{value}` is not an RFC 1123 name: lower-case letters, digits, `-` and `.` only")
    return value


def _host_or_address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    if not is_dns_name(value.lower()) or re.fullmatch(r"[0-9.]+", value):
        raise ValueError(f"`{value}` is neither an IP address nor a DNS name")
    return value


def _text(value: Any) -> Any:
    # `vm.max_map_count: 262144` and `gpu: true` are what people write; the other side wants text.
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


Address = Annotated[str, AfterValidator(_address), Field(json_schema_extra={"format": "ip"})]
Cidr = Annotated[str, AfterValidator(_cidr), Field(json_schema_extra={"format": "cidr"})]
HostOrAddress = Annotated[str, AfterValidator(_host_or_address)]
Label = Annotated[str, AfterValidator(_dns_name)]
"""A name that Kubernetes accepts for a node: an RFC 1123 subdomain."""
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
Text = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | int | bool)]
"""Text that may be written as a number or a boolean."""
