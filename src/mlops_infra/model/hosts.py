"""The hosts of a platform, by role."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlops_infra.model.base import Address, HostOrAddress, Interface, LabelValue, NodeName, Noun, QualifiedName
from mlops_infra.model.ssh import SshOverride

__all__ = ["MASTER_PORT", "Host", "Hosts", "Role", "Taint"]

MASTER_PORT = 6443
"""The port of the API servers themselves; `lb.api_port` is the load balancer's."""
Role = Literal["lb", "master", "worker"]


class Taint(Noun):
    key: QualifiedName
    value: LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class Host(Noun):
    """One machine. `name` becomes the Kubernetes node's name; the machine keeps its own hostname."""

    name: NodeName
    """RFC 1123: lower-case letters, digits, `-` and `.`, at most 63 characters."""
    address: HostOrAddress
    """Where SSH reaches it."""
    internal_address: Address | None = None
    """The node's address inside the cluster, where it differs from `address`."""
    interface: Interface | None = None
    """The interface that holds the node's address, where it is not found by the address."""
    labels: dict[QualifiedName, LabelValue] = Field(default_factory=dict)
    """Labels of the node."""
    taints: tuple[Taint, ...] | None = None
    """Taints of the node; unset leaves what kubeadm gives (masters take no ordinary pods)."""
    ssh: SshOverride = SshOverride()
    """What differs from the `ssh:` section."""

    @property
    def node_address(self) -> str:
        return self.internal_address or self.address


class Hosts(Noun):
    lb: tuple[Host, ...] = ()
    """The load balancers: none with a single master or with `lb.external`, two with a VIP."""
    masters: tuple[Host, ...] = Field(min_length=1)
    """One, or three (or five): an even number survives no more failures than the odd one below it."""
    workers: tuple[Host, ...] = ()
    """The nodes that run the load."""
