"""The hosts of a platform, by role."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlops_infra.model.base import Address, HostOrAddress, Interface, LabelValue, NodeName, Noun, QualifiedName
from mlops_infra.model.ssh import SshOverride

__all__ = ["Host", "Hosts", "Role", "Taint"]

Role = Literal["lb", "master", "worker"]


class Taint(Noun):
    key: QualifiedName
    value: LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class Host(Noun):
    """One machine. `name` becomes the Kubernetes node's name; the machine keeps its own hostname."""

    name: NodeName
    address: HostOrAddress
    """Where SSH reaches it."""
    internal_address: Address | None = None
    """The node's address inside the cluster, where it differs from `address`."""
    interface: Interface | None = None
    labels: dict[QualifiedName, LabelValue] = Field(default_factory=dict)
    taints: tuple[Taint, ...] | None = None
    ssh: SshOverride = SshOverride()

    @property
    def node_address(self) -> str:
        return self.internal_address or self.address


class Hosts(Noun):
    lb: tuple[Host, ...] = ()
    masters: tuple[Host, ...] = Field(min_length=1)
    workers: tuple[Host, ...] = ()
