"""What people who are no administrators may do."""

from __future__ import annotations

from typing import Literal

from mlops_infra.model.base import NamespaceName, Noun

__all__ = ["Access"]


class Access(Noun):
    """Who has access is told by `mlops-infra access list`, not here: people come and go, the roles stay."""

    operator_namespaces: tuple[NamespaceName, ...] = ("apps",)
    """Where operators deploy; made when they are not there, never removed. Never the platform's own namespaces: who may
    start pods among its components has all their rights."""
    pod_security: Literal["privileged", "baseline", "restricted"] = "baseline"
    """The Pod Security level that those of these namespaces enforce which `up` made; in others (`default` is one) it
    only warns, since pods that live there may need more. Where nothing below `privileged` is enforced, an operator can
    start a pod that is root on its node, and so is as good as an administrator."""
