"""Volumes that pods can claim."""

from __future__ import annotations

from pydantic import Field

from mlops_infra.model.base import DnsName, Noun

__all__ = ["LOCAL_PATH", "Storage"]

LOCAL_PATH = "local-path"


class Storage(Noun):
    """`local-path` is a directory on the node that the pod was first given: the pod cannot move to another node, the
    size that was claimed is not enforced, and the data dies with the disk."""

    class_name: DnsName = Field(default=LOCAL_PATH, alias="class")
    """`local-path`: installed here, and the default class. `none`: nothing, and what this program installed is taken
    away once no volume of it is left. Anything else is a class that you bring; our own volumes are claimed of it."""
    path: str = Field(default="/var/lib/mlops-infra/volumes", pattern=r"^/[A-Za-z0-9._/-]+$")
    """Where local-path keeps volumes on each node: best a disk of its own."""

    @property
    def is_ours(self) -> bool:
        return self.class_name == LOCAL_PATH

    @property
    def claimed(self) -> str:
        """The class that our own volumes are claimed of; empty where there is none."""
        return "" if self.class_name == "none" else self.class_name
