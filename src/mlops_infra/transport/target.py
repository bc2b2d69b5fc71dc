"""Where a host is and how to log in there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["SudoMode", "Target"]

SudoMode = Literal["auto", "root", "nopasswd", "password"]
"""How root is reached: `auto` finds out."""


@dataclass(frozen=True, slots=True)
class Target:
    """One host as SSH sees it.

    `identity`: a private key file, used alone; None: the agent (where `agent`), then ssh's usual key files.
    `host_key`: a fingerprint `SHA256:…` pinned in cluster.yaml; it wins over known_hosts. `connect_timeout` is in
    seconds and covers everything up to the authenticated connection, retries included.
    """

    name: str
    address: str
    port: int = 22
    user: str = "root"
    identity: Path | None = None
    agent: bool = True
    sudo: SudoMode = "auto"
    host_key: str | None = None
    bastion: Target | None = None
    connect_timeout: float = 10.0

    @property
    def key_name(self) -> str:
        """The name under which OpenSSH keeps this host's key: `address`, or `[address]:port` off port 22."""
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"
