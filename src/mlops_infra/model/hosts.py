"""The hosts of a platform, by role."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlops_infra.model.base import Noun
from mlops_infra.model.ssh import SshOverride

__all__ = ["Host", "Hosts", "Role", "Taint"]

Role = Literal["lb", "master", "worker"]


class Taint(Noun):
    key: str
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class Host(Noun):
    """One machine. `name` becomes the Kubernetes node's name; the machine keeps its own hostname."""

    name: str
    address: str
    """Where SSH reaches it."""
    internal_address: str | None = None
    """The node's address inside the cluster, where it differs from `address`."""
    interface: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    taints: tuple[Taint, ...] | None = None
    ssh: SshOverride = SshOverride()

    @property
    def node_address(self) -> str:
        return self.internal_address or self.address


class Hosts(Noun):
    lb: tuple[Host, ...] = ()
    masters: tuple[Host, ...]
    workers: tuple[Host, ...] = ()
