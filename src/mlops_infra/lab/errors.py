"""What can go wrong in the lab itself."""

from __future__ import annotations

from mlops_infra.errors import InfraError

__all__ = ["LabError"]


class LabError(InfraError):
    """The lab could not do what was asked; brief, cause and remedy say why."""
