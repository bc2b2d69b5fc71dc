"""An address and a port in one text."""

from __future__ import annotations

__all__ = ["bracketed", "https_url"]


def bracketed(address: str) -> str:
    """As it stands before `:port`: IPv6 in brackets (RFC 3986, 3.2.2), names and IPv4 as they are."""
    return f"[{address}]" if ":" in address else address


def https_url(address: str, port: int) -> str:
    return f"https://{bracketed(address)}:{port}"
