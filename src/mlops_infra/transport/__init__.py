"""How a host is reached: sockets, Fabric, sudo, host keys, one exchange over one channel.

The reasons are in docs/explanation/transport.md.

Importing this package imports neither fabric nor paramiko; `transport.ssh` does so when its first connection is made.
"""

from __future__ import annotations

from typing import Protocol

from mlops_infra.transport.session import Held, Reply, Session
from mlops_infra.transport.target import Target

__all__ = ["Held", "Reply", "Session", "Target", "Transport"]


class Transport(Protocol):
    """Opens sessions. Safe to use from many threads at once."""

    def connect(self, target: Target) -> Session:
        """A session to one host. Raises a `TransportError` within the target's connect_timeout."""
        ...

    def close(self) -> None:
        """Close every session and bastion connection of this transport."""
        ...
