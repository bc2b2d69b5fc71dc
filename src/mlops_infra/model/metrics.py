"""What `kubectl top` and horizontal autoscaling need."""

from __future__ import annotations

from mlops_infra.model.base import Noun

__all__ = ["Metrics"]


class Metrics(Noun):
    enabled: bool = True
    """metrics-server, which trusts the kubelets' serving certificates by the cluster's CA. False: taken away where this
    program installed it."""
